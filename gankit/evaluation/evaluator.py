"""Measures of a running game: what they compare with, when they are due, and what they cost."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor, nn

from gankit.aside import evaluating, own_randomness
from gankit.batches import Batches
from gankit.evaluation.budget import Budget
from gankit.evaluation.comparison import Comparison, Extractor, Features, Protocol, Samples, measured
from gankit.evaluation.store import kept
from gankit.game import Game, derived_seed
from gankit.recipe import Part
from gankit.sampling import Sampler, drawn_from, sampled_generator

LONG = 5.0
"""Seconds of getting ready after which it is worth a word."""


class Evaluator:
    """The measures of a recipe, ready to be taken. Nothing it does leaves a trace in what is learnt.

    Args:
        game: with its data loaded.
    """

    def __init__(self, game: Game) -> None:
        assert game.batches is not None, "load_data comes first"
        self.game, self.settings = game, game.recipe.evaluation
        began = time.perf_counter()
        with own_randomness(game.device):
            count = min(self.settings.count, game.batches.size)
            images, labels = game.batches.reference(count, 0, self.settings.seed)
            self.real = Samples(images.cpu(), None if labels is None else labels.cpu())
            self.extractor = game.build_extractor()
            self.real_features = features_of(self.real, self.extractor)
        if (seconds := time.perf_counter() - began) > LONG:
            # No advice, which would make a good run look doubtful in its report.
            sentence = f"to get the measures ready took {seconds:.0f} s; what was computed is kept for later runs"
            print(sentence, file=sys.stderr, flush=True)

        self.budget = Budget(self.settings.budget)
        self.budget.expected = self._expected()

    def _expected(self) -> float:
        """Seconds that an evaluation will take, judged by a tenth of one."""
        began = time.perf_counter()
        few = max(1, self.settings.count // 10)
        with own_randomness(self.game.device):
            self.extractor(self._draw(sampled_generator(self.game), few).images)
        return (time.perf_counter() - began) * self.settings.count / few

    def due(self) -> bool:
        """Whether an iteration of evaluation has come, and the budget has room for it."""
        return self.game.iteration % self.settings.every == 0 and self.budget.allows()

    def row(self) -> dict[str, Any]:
        """Takes the measures: the row of log.jsonl, with the protocol and the seconds that it took."""
        game = self.game
        with self.budget.evaluation(), own_randomness(game.device):
            fake = self._draw(sampled_generator(game), self.settings.count)
            facts = facts_of(game.recipe.parts["data"], self.real, fake, self.settings.seed, drawn_from(game))
            comparison = Comparison(self.real, fake, self.extractor, facts, self.real_features)
            found = measured(game.measures, comparison)
        return {
            "iteration": game.iteration,
            "measures": found,
            "protocol": dict(comparison.protocol),
            "seconds": self.budget.expected,
        }

    def _draw(self, generator: nn.Module, count: int) -> Samples:
        game = self.game
        with torch.no_grad(), evaluating(generator):
            sampler = Sampler(generator, game.hooks, game.spec, game.device)
            return drawn(sampler, count, self.settings.seed, self.real)


def facts_of(data: Part, real: Samples, fake: Samples, seed: int, generator: str) -> Protocol:
    """What belongs to the protocol beside the extractor.

    Args:
        data: of the real images.
        real, fake: the images.
        seed: of their choice and of z.
        generator: which of a run's generators.
    """
    return {
        "real": f"{data.plugin_class.name} {real.digest()[:12]}",
        "split": str(getattr(data.config, "split", "all")),
        "real images": len(real.images),
        "generated images": len(fake.images),
        "seed": seed,
        "generator": generator,
    }


def chosen(images: Tensor, labels: Tensor | None, count: int, seed: int) -> Samples:
    """`count` of the images, or all there are, by the seed alone: those that a run's measures compare with."""
    return Samples(*Batches(images, labels, min(count, len(images)), 0, seed).next())


def drawn(sampler: Sampler, count: int, seed: int, real: Samples) -> Samples:
    """Images from a generator: floating point where the real ones are, which are no pictures then, uint8 otherwise."""
    labels = sampler.labels(count)
    z = sampler.latent(count, labels, derived_seed(seed, "evaluation"))
    as_numbers = real.images.is_floating_point()
    images = torch.cat(list(sampler.outputs(z, labels) if as_numbers else sampler.images(z, labels)))
    return Samples(images, labels)


def features_of(real: Samples, extractor: Extractor) -> Features:
    """The features of real images, computed once and kept."""

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        found = extractor(real.images)
        return {"values": found.values} | ({} if found.logits is None else {"logits": found.logits}), {}

    tensors, _ = kept("features", [real.digest(), dict(extractor.facts)], compute)
    return Features(tensors["values"], tensors.get("logits"))
