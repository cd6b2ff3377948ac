"""Measures of a running game: what they compare with, when they are due, and what they cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

from gankit.data.batches import Batches, BatchSource
from gankit.data.mmap_advice import sequential_access
from gankit.errors import GankitError
from gankit.evaluation.budget import Budget
from gankit.evaluation.feature_cache import disk_cache
from gankit.evaluation.metrics import Metric, MetricResults, compute_all
from gankit.evaluation.protocol import Fact, settings_of, source_of
from gankit.plugin.comparison import Comparison, Samples
from gankit.plugin.component import Component
from gankit.plugin.dataset import Dataset
from gankit.plugin.extractor import Extractor, Features, MetricProtocol
from gankit.runtime.rng import derived_seed, fork_rng
from gankit.sampling.generator_file import SampledRun
from gankit.sampling.sampler import Sampler

LONG = 5.0
"""Seconds of getting ready after which it is worth a word."""

FEW = 32
"""Images in a trial, at least; fewer tell nothing."""

AS_REAL, EVEN = "as in the data", "even shares"
"""Which labels a generator is asked for. One that is asked for none draws classes as it learnt them."""

VERSION = 1
"""Of how features are kept. Those of another version are computed anew."""


class EvaluatedRun(SampledRun, Protocol):
    """Part of a run that its evaluation needs."""

    dataset: Dataset
    batches: BatchSource | None
    metrics: dict[str, Metric]
    """Hook `compute_metrics` of each plugin that implements it, by key."""

    def build_extractor(self) -> Extractor:
        """Return the feature extractor of the recipe."""
        ...

    def warn(self, sentence: str) -> None:
        """Show a warning to the user."""
        ...


class Evaluator:
    """The measures of a recipe, ready to be taken. Nothing it does leaves a trace in what is learnt.

    Args:
        game: with its data loaded.

    Raises InputError when the extractor cannot be had, or cannot look at the real images.
    """

    def __init__(self, run: EvaluatedRun) -> None:
        assert run.batches is not None, "load_data comes first"
        self.run, self.settings = run, run.recipe.evaluation
        self.budget = Budget(self.settings.budget)
        began = time.perf_counter()
        with self.budget.charged(), fork_rng(run.device):
            count = min(self.settings.count, run.batches.size)
            images, labels = run.batches.reference(count, 0, self.settings.seed)
            self.real = samples(images.cpu(), None if labels is None else labels.cpu(), run.dataset.class_names)
            # Without an extractor there are no features: metrics compare the samples themselves.
            self.extractor: Extractor | None = None
            self.real_features: Features | None = None
            self._everything: Callable[[], Features] | None = None
            if "extractor" in run.recipe.components:
                self.extractor = run.build_extractor()
                looking = self.real, self.extractor, run.recipe.components["extractor"]
                self.real_features = features_of(*looking)
                self._everything = once(features_of_everything(run.dataset, *looking), self.budget)
        if (seconds := time.perf_counter() - began) > LONG:
            # No advice, which would make a good run look doubtful in its report.
            sentence = f"to get the measures ready took {seconds:.0f} s; what was computed is kept for later runs"
            print(sentence, file=sys.stderr, flush=True)

        self._tried = False
        self._told: set[str] = set()

    def due(self) -> bool:
        """Whether an iteration of evaluation has come, and the budget has room for it."""
        if self.run.iteration % self.settings.every:
            return False
        if not self._tried and self.budget.allows():
            self._try_out()
        if self.budget.allows():
            return True
        self.budget.left_out += 1
        return False

    def row(self, forgiving: bool = False) -> dict[str, Any]:
        """Takes the measures: the row of log.jsonl, with the protocol, the measures' settings and the seconds.

        Args:
            forgiving: a run is not broken off for a measure that cannot be taken, but told why, once.

        Raises InputError, unless it is forgiving, when a measure cannot be taken.
        """
        before = self.budget.spent
        with self.budget.evaluation():
            protocol, found = self._compare(self.settings.count)
        if forgiving:
            self._excuse(found)
        else:
            found.or_refused()
        return {
            "iteration": self.run.iteration,
            "metrics": found.numbers,
            "protocol": dict(protocol),
            "settings": settings_by_number(found, self.run.recipe.components),
            "seconds": self.budget.spent - before,
        }

    def _try_out(self) -> None:
        """Judges by a tenth of an evaluation what a whole one will take."""
        self._tried = True
        few = min(self.settings.count, max(FEW, self.settings.count // 10))
        with self.budget.evaluation():
            self._compare(few)
        self.budget.expected *= self.settings.count / few

    def _compare(self, count: int) -> tuple[MetricProtocol, MetricResults]:
        """`count` generated images, beside as many real ones or all there are."""
        run, seed = self.run, self.settings.seed
        sampler = Sampler.of_run(run)
        real = first(self.real, count)
        features = None if self.real_features is None else first_features(self.real_features, count)
        with fork_rng(run.device):
            fake = drawn(sampler, count, seed, real)
            facts = facts_of(run.recipe.components, real, fake, seed) | facts_of_generator(
                sampler, real, run.sampled_generator_name()
            )
            try:
                comparison = Comparison(real, fake, self.extractor, facts, features, dataset_features=self._everything)
            except GankitError as error:  # too few images for any measure
                return facts, MetricResults({}, {}, [], dict.fromkeys(run.metrics, error))
            return comparison.protocol, compute_all(run.metrics, comparison)

    def _excuse(self, found: MetricResults) -> None:
        """Says what could not be measured: once, however often it happens, and once for all measures it happens to."""
        reasons: dict[str, list[str]] = {}
        for key, error in found.failed.items():
            reasons.setdefault(str(error), []).append(key)
        if found.not_applicable:
            reasons["nothing to say of these images through this extractor"] = found.not_applicable
        for reason, keys in reasons.items():
            if reason not in self._told:
                self._told.add(reason)
                self.run.warn(f"{', '.join(keys)}: {reason}")


def facts_of(parts: Mapping[str, Component], real: Samples, fake: Samples, seed: int) -> dict[str, Fact]:
    """What belongs to the protocol of both sides, beside what the extractor says of itself.

    Args:
        parts: of the recipe: `data` and `extractor`.
        real, fake: the images.
        seed: of their choice and of z.
    """
    data = parts["data"]
    return {
        **(
            {f"extractor {k}": fact for k, fact in source_of(parts["extractor"]).items()}
            if "extractor" in parts
            else {}
        ),
        "real": f"{data.plugin_class.name} {real.digest()[:12]}",
        "split": str(getattr(data.config, "split", "all")),
        "real images": len(real.images),
        "generated images": len(fake.images),
        "seed": seed,
    }


def facts_of_generator(sampler: Sampler, real: Samples, which: str) -> dict[str, Fact]:
    """What belongs to the protocol of images that a generator draws; `which` is that of a run's generators."""
    return {"generator": which, "generated resize": "none", "labels": EVEN if asked_evenly(sampler, real) else AS_REAL}


def settings_by_number(found: MetricResults, parts: Mapping[str, Component]) -> dict[str, dict[str, Fact]]:
    """The settings of the measure that each number came from, of those that have some."""
    settings = {name: settings_of(parts[key]) for name, key in found.keys.items()}
    return {name: facts for name, facts in settings.items() if facts}


def asked_evenly(sampler: Sampler, real: Samples) -> bool:
    """Whether a generator is asked for all its classes alike, rather than for the labels of the real images.

    In training it is asked for those, unless batches are balanced. Of classes with other names nobody can tell which is
    which.
    """
    return bool(sampler.class_names) and (sampler.spec.class_balanced or sampler.class_names != real.class_names)


def labels_asked(sampler: Sampler, count: int, real: Samples) -> Tensor | None:
    """(count,) labels that a generator is asked for; None when it takes none."""
    if not sampler.class_names or asked_evenly(sampler, real):
        return sampler.labels(count)
    assert real.labels is not None, "what has class names has labels"
    return real.labels[torch.arange(count) % len(real.labels)]


def samples(images: Tensor, labels: Tensor | None, class_names: tuple[str, ...]) -> Samples:
    """Without labels, the classes have no names."""
    return Samples(images, labels, class_names if labels is not None else ())


def chosen(images: Tensor, labels: Tensor | None, count: int, seed: int, class_names: tuple[str, ...] = ()) -> Samples:
    """`count` of the images, or all there are, by the seed alone: those that a run's measures compare with."""
    return samples(*Batches(images, labels, min(count, len(images)), 0, seed).next(), class_names)


def first(of: Samples, count: int) -> Samples:
    return Samples(of.images[:count], None if of.labels is None else of.labels[:count], of.class_names)


def first_features(of: Features, count: int) -> Features:
    return Features(of.values[:count], None if of.logits is None else of.logits[:count])


def drawn(sampler: Sampler, count: int, seed: int, real: Samples) -> Samples:
    """Images from a generator: floating point where the real ones are, which are no pictures then, uint8 otherwise."""
    labels = labels_asked(sampler, count, real)
    z = sampler.latent(count, labels, derived_seed(seed, "evaluation"))
    as_numbers = real.images.is_floating_point()
    images = torch.cat(list(sampler.outputs(z, labels) if as_numbers else sampler.images(z, labels)))
    return samples(images, labels, sampler.class_names)


def features_of(real: Samples, extractor: Extractor, part: Component) -> Features:
    """The features of real images, computed once and kept for as long as the extractor is the same code.

    Args:
        real: the images.
        extractor: what looks at them.
        part: the plugin that built it.
    """

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        found = extractor(real.images)
        return {"values": found.values} | ({} if found.logits is None else {"logits": found.logits}), {}

    code = [part.resolved.origin, part.resolved.distribution, part.resolved.version, part.resolved.source_digest]
    key = [VERSION, real.digest(), dict(extractor.facts), code, part.config.model_dump(mode="json")]
    tensors, _ = disk_cache("features", key, compute)
    return Features(tensors["values"], tensors.get("logits"))


def features_of_everything(
    dataset: Dataset, real: Samples, extractor: Extractor, part: Component
) -> Callable[[], Features] | None:
    """Gives the features of all images that the real ones were chosen from; None where these are all there are.

    Args:
        dataset: `loaded_once`.
        real, extractor, part: as for `features_of`.
    """
    images, labels = dataset.load()
    if len(images) == len(real.images):
        return None

    def compute() -> Features:
        with sequential_access(images):
            return features_of(samples(images, labels, dataset.class_names), extractor, part)

    return compute


def once(compute: Callable[[], Features] | None, budget: Budget) -> Callable[[], Features] | None:
    """The same, computed for the first who asks, which no evaluation need expect again."""
    if compute is None:
        return None

    @cache
    def computed() -> Features:
        with budget.once():
            return compute()

    return computed
