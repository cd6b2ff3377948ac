"""Differentially private steps of the discriminator (DP-SGD)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from gankit import (
    DiscriminatorOutput,
    InputError,
    LossTerm,
    Player,
    Plugin,
    RecipeInfo,
    Run,
    Settings,
    Source,
    Step,
    hookimpl,
    value_at,
)
from gankit_plugins.trick.privacy_accountant import PrivacyAccountant
from gankit_plugins.trick.privacy_checks import check_condition, check_networks, refuse_plugins
from gankit_plugins.trick.sample_gradients import (
    Parameters,
    clip_factors,
    clipped_sum,
    map_output,
    poisson_sample,
    sample_gradients,
    secret_generator,
)


class DpSgd(Plugin):
    """Differentially private training: clipped gradients of each real sample and noise in D's steps (DP-SGD).

    Source: Abadi 2016, algorithm 1; for GANs Xie 2018 (DPGAN). A step draws each real sample with probability
    q = `train.batch_size` / N (Poisson sampling). The gradient of the real half of D's loss is computed for each
    sample, clipped to the norm C, summed, and Gaussian noise of standard deviation sigma C is added. The sum is divided
    by `train.batch_size`.

    Only the real half needs this. Generated samples come from G and from random numbers, and G learns only through D.
    So the fake half of D's loss and the steps of G are post-processing of private weights. The gradients of generated
    samples are clipped too, but without noise: otherwise they would outweigh those of real samples. G's steps get no
    real samples, and the labels of generated samples are drawn uniformly.

    The guarantee is (epsilon, delta) for adding or removing one sample of the training data. It holds for all weights
    of the run, and so for the generator file, which contains epsilon. It does not hold for the log, whose losses,
    metrics and `clipped_share` use the real samples.

    When to use: if a published generator must not reveal whether a sample was in the training data.
    When not: with few training samples. A batch is then a large part of the data, and a small epsilon needs much noise.
    """

    name = "dp_sgd"
    state_scope = "per_rank"

    class Config(Settings):
        norm: float = Field(1.0, gt=0, description="C, largest norm of the gradient of one sample")
        sigma: float = Field(
            1.0, ge=0, description="noise multiplier: standard deviation of the noise, divided by C; 0 is not private"
        )
        delta: float = Field(1e-5, gt=0, lt=1, description="delta of the guarantee; below 1 / number of samples")
        epsilon: float | None = Field(None, gt=0, description="budget: the run ends before epsilon exceeds it")
        noise_seed: int | None = Field(
            None,
            ge=0,
            lt=2**63,
            description="seed of the noise and of the choice of samples, for tests; default: a secret seed from the "
            "operating system, because an attacker who has the seed can subtract the noise",
        )
        chunk: int = Field(64, ge=1, description="number of samples whose gradients are in memory at a time")

    config: Config

    accountant: PrivacyAccountant | None = None
    """Accountant of the run. None without noise, because epsilon is then infinite."""

    clipped: Tensor | None = None
    """Proportion of the samples of the last D step whose gradient was clipped."""

    generator: torch.Generator | None = None
    """Random numbers of the noise and of the choice of samples, on the CPU. They do not depend on the recipe's seed."""

    samples: int | None = None
    """Number of samples N of the data. None before the run starts."""

    def state_dict(self) -> dict[str, Any]:
        assert self.generator is not None, "on_start is called before the first checkpoint"
        return {"generator": self.generator.get_state(), "samples": self.samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.samples = state["samples"]
        self.generator = torch.Generator()
        self.generator.set_state(state["generator"].cpu())

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        refuse_plugins(recipe, type(self))
        if recipe.train.accumulate > 1:
            raise ValueError(
                "dp_sgd draws one batch for each step, but train.accumulate splits it into several; remove it, and "
                "set tricks.dp_sgd.chunk to save memory"
            )
        if recipe.train.class_balanced:
            raise ValueError(
                "dp_sgd draws each sample with the same probability, but train.class_balanced fixes the classes of a "
                "batch; set it to false"
            )
        if recipe.to_dict().get("train", {}).get("rollbacks"):
            raise ValueError(
                "train.rollbacks discards steps by the losses of the real samples, and epsilon would not count these "
                "steps; remove train.rollbacks, or dp_sgd"
            )
        if recipe.to_dict().get("output", {}).get("keep_best"):
            raise ValueError(
                "output.keep_best chooses a generator by its metric on the real samples, which is not private; remove "
                "it, or dp_sgd"
            )
        if self.config.sigma == 0:
            yield "sigma = 0 adds no noise, so the run is not private"
        if self.config.noise_seed is not None:
            yield "noise_seed is in the generator file, and reveals the noise; remove noise_seed for private training"
        if recipe.to_dict().get("init"):
            yield "epsilon does not cover the data that the networks in [init] were trained on; use public data there"

    @hookimpl
    def on_start(self, run: Run) -> None:
        if self.generator is None:
            seed = self.config.noise_seed
            fixed = None if seed is None else torch.Generator().manual_seed(seed + run.ranks.rank)
            self.generator = fixed or secret_generator()
        N, size, delta = run.num_real, run.recipe.train.batch_size, self.config.delta
        if self.samples not in (None, N):
            raise InputError(
                f"dp_sgd: the run began with {self.samples} samples, and the data now have {N}; epsilon needs one "
                "number for all steps. Restore the data, or start a new run"
            )
        self.samples = N
        if size > N:
            raise InputError(f"dp_sgd: train.batch_size is {size}, and there are {N} samples; give at most {N}")
        if delta >= 1 / N:
            run.warn(f"tricks.dp_sgd.delta = {delta:g} is not below 1 / {N} samples, so the guarantee is weak")
        if run.spec.encoding:
            run.warn("the encoding of the data, which the generator file contains, is not private")
        check_condition(run)
        check_networks(run)
        if self.config.sigma == 0:
            return
        self.accountant = PrivacyAccountant(size / N, self.config.sigma, delta)
        if self.config.epsilon is not None and self._budget_is_spent(run):
            if not run.step_counts["discriminator"]:
                first = self.accountant.epsilon(run.recipe.train.discriminator_steps)
                raise InputError(
                    f"dp_sgd: epsilon is {first:.3g} after one iteration, above the budget {self.config.epsilon:g}; "
                    "raise sigma or the budget, or reduce train.batch_size"
                )
            self._stop(run)

    @hookimpl
    def draw_step(self, run: Run, player: Player) -> Step:
        """Return a step of `count` generated samples. In a D step, the Poisson sample of n real samples follows.

        The first `count` rows have no real samples, and the last n rows have no generated samples. The missing samples
        are zeros. So no row of generated samples depends on real samples, nor does their number.
        """
        assert self.generator is not None, "on_start comes first"
        if player == "discriminator":
            # Augmentations draw a random number for each real sample, so later random numbers depend on the number of
            # real samples. The seed of the recipe is public, and would reveal this number. Use a secret seed.
            torch.manual_seed(int(torch.randint(2**63 - 1, (), generator=self.generator)))
        ranks = run.ranks
        count = run.recipe.train.batch_size // ranks.size
        classes = run.spec.classes
        condition = torch.randint(classes, (count,), device=run.device) if classes else None
        z = run.draw_latent(count, condition)
        fake = run.generator(z, condition).float()
        if player == "generator":
            return Step(run, player, torch.zeros_like(fake), condition, z, fake)
        # Each rank samples from its own part of the data. Together, the samples of all ranks are a Poisson sample.
        own = torch.arange(ranks.rank, run.num_real, ranks.size)
        q = run.recipe.train.batch_size / run.num_real
        real = run.take_real(own[poisson_sample(len(own), q, self.generator)])
        n = len(real.images)

        def zeros(like: Tensor, length: int) -> Tensor:
            return like.new_zeros(length, *like.shape[1:])

        return Step(
            run,
            player,
            torch.cat([zeros(real.images, count), real.images]),
            None if condition is None or real.condition is None else torch.cat([condition, real.condition]),
            torch.cat([z, zeros(z, n)]),
            torch.cat([fake, zeros(fake, n)]),
            fields={name: torch.cat([zeros(one, count), one]) for name, one in real.fields.items()},
        )

    @hookimpl
    def backward(self, run: Run, step: Step, player: Player, terms: Sequence[LossTerm]) -> dict[str, Tensor] | None:
        if player != "discriminator":
            return None
        count = run.recipe.train.batch_size // run.ranks.size
        generated, real = step.slice(slice(count)), step.slice(slice(count, None))
        with torch.no_grad():
            # This call also updates D's buffers, such as the vectors of spectral norm, without real samples.
            output = generated.discriminate(*generated.fake_inputs)
        blank = map_output(lambda one: torch.zeros_like(one[:1]), output)
        constants = self._add_gradient_of_weights(run, generated.slice(slice(1)), terms, blank)
        halves = [self._half(run, generated, terms, blank, "fake"), self._half(run, real, terms, blank, "real")]
        (_, fake_sum, _), (_, real_sum, self.clipped) = halves
        self._add_mean(run, fake_sum, noise=0.0)
        self._add_mean(run, real_sum, noise=self.config.sigma * self.config.norm)
        # The loss of a half contains the value of the constant outputs that stand for the other half.
        changes = [{name: value - constants[name] for name, value in values.items()} for values, _, _ in halves]
        return {name: value + sum(own.get(name, 0.0) for own in changes) for name, value in constants.items()}

    @hookimpl
    def after_iteration(self, run: Run) -> None:
        if self.config.epsilon is not None and self._budget_is_spent(run):
            self._stop(run)

    @hookimpl
    def log_values(self, run: Run) -> dict[str, float | Tensor]:
        values: dict[str, float | Tensor] = {} if self.clipped is None else {"clipped_share": self.clipped}
        return values if self.accountant is None else {"epsilon": self._epsilon(run), **values}

    @hookimpl
    def generator_facts(self, run: Run) -> dict[str, float | str] | None:
        if self.accountant is None:
            return None
        return {"epsilon": self._epsilon(run), "delta": self.config.delta, "privacy unit": "one training sample"}

    def _add_gradient_of_weights(
        self, run: Run, step: Step, terms: Sequence[LossTerm], blank: DiscriminatorOutput
    ) -> dict[str, Tensor]:
        """Add the gradient of penalties on D's weights, which need no samples, to `.grad`.

        Return the value of each loss term for constant outputs of D, `blank`.
        """
        values = values_of(terms, step.with_outputs(blank, blank))
        loss = weighted_sum(values, terms, run)
        if loss is not None and loss.requires_grad:
            weights = [p for p in run.parameters["discriminator"] if p.requires_grad]
            with torch.autocast(run.device.type, enabled=False):
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                add_gradient(weight, gradient)
        return {name: value.detach() for name, value in values.items()}

    def _half(
        self, run: Run, step: Step, terms: Sequence[LossTerm], blank: DiscriminatorOutput, source: Source
    ) -> tuple[dict[str, Tensor], Parameters, Tensor]:
        """Return the mean of each loss term, the sum of the clipped gradients, and the proportion of clipped samples.

        The loss of a sample has D's output for this real or generated sample, and the constant output `blank` for the
        other half. Without samples, there are no values and the sum is 0.
        """
        trained = {id(p) for p in run.parameters["discriminator"]}
        network = run.discriminator
        parameters = {name: p for name, p in network.named_parameters() if p.requires_grad and id(p) in trained}
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        n = len(step.real)
        clipped = torch.zeros((), device=run.device)
        if n == 0:
            return {}, total, clipped
        # Compute the inputs for the batch. The inputs of each row are a part of them.
        step.real_inputs if source == "real" else step.fake_inputs  # noqa: B018

        def loss(discriminator: Callable[..., Any], row: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            example = step.slice(row)
            example.discriminator = discriminator
            if source == "real":
                example = example.with_outputs(example.real_output, blank)
            else:
                example = example.with_outputs(blank, example.fake_output)
            values = values_of(terms, example)
            weighted = weighted_sum(values, terms, run)
            assert weighted is not None, "D has loss terms"
            return weighted, values

        sums: dict[str, Tensor] = {}
        for rows in torch.arange(n, device=run.device).split(self.config.chunk):
            gradients, values = sample_gradients(network, parameters, loss, rows)
            with torch.autocast(run.device.type, enabled=False):
                factors = clip_factors(gradients, self.config.norm)
                for name, part in clipped_sum(gradients, factors).items():
                    total[name] += part
            clipped += (factors < 1).sum()
            sums = {name: sums.get(name, 0) + value.detach().sum() for name, value in values.items()}
        return {name: value / n for name, value in sums.items()}, total, clipped / n

    def _add_mean(self, run: Run, total: Parameters, noise: float) -> None:
        """Add (total + N(0, noise^2)) / L to `.grad`, where L is `train.batch_size`.

        With several ranks, the core averages the gradients of R ranks. Then the sum of the gradients is multiplied by
        R, and the noise of each rank by sqrt(R), so that the average has the given noise.

        Source:
            Abadi 2016, algorithm 1, "add noise".
        """
        R, L = run.ranks.size, run.recipe.train.batch_size
        parameters = dict(run.discriminator.named_parameters())
        with torch.autocast(run.device.type, enabled=False):
            for name, one in total.items():
                own = one * R
                if noise:
                    own = own + noise * math.sqrt(R) * torch.randn(own.shape, generator=self.generator).to(own)
                add_gradient(parameters[name], own / L)

    def _epsilon(self, run: Run) -> float:
        assert self.accountant is not None, "without noise there is no accountant"
        return self.accountant.epsilon(run.step_counts["discriminator"])

    def _budget_is_spent(self, run: Run) -> bool:
        """Return True if epsilon would exceed the budget in the next iteration."""
        if self.accountant is None or self.config.epsilon is None:
            return False
        steps = run.step_counts["discriminator"] + run.recipe.train.discriminator_steps
        return self.accountant.epsilon(steps) > self.config.epsilon

    def _stop(self, run: Run) -> None:
        run.stop(f"the privacy budget is spent: epsilon is {self._epsilon(run):.4g} of {self.config.epsilon:g}")


def values_of(terms: Sequence[LossTerm], step: Step) -> dict[str, Tensor]:
    """Return the unweighted value of each loss term in a step, by name."""
    return {term.name: term.function(step) for term in terms}


def weighted_sum(values: Mapping[str, Tensor], terms: Sequence[LossTerm], run: Run) -> Tensor | None:
    """Return the weighted sum of the values of loss terms, a scalar. None without terms."""
    weighted = [value_at(term.weight, run) * values[term.name] for term in terms]
    return reduce(add, weighted) if weighted else None


def add_gradient(weight: Tensor, gradient: Tensor | None) -> None:
    """Add a gradient to `weight.grad`. None is no gradient."""
    if gradient is not None:
        weight.grad = gradient if weight.grad is None else weight.grad + gradient
