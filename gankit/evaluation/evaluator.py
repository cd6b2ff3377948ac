"""Evaluation of the generator during a run: schedule, real samples, metrics, and rows for log.jsonl."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gankit.data.batches import Batches, BatchSource
from gankit.data.mmap_advice import sequential_access
from gankit.errors import GankitError, InputError
from gankit.evaluation.budget import Budget
from gankit.evaluation.feature_cache import disk_cache
from gankit.evaluation.metrics import Metric, MetricResults, compute_all
from gankit.evaluation.protocol import Fact, settings_of, source_of
from gankit.images.grid import to_bytes
from gankit.plugin.comparison import Comparison, Samples
from gankit.plugin.component import Component
from gankit.plugin.condition import Condition, ImageCondition
from gankit.plugin.dataset import Dataset, Rows, to_eight_bits
from gankit.plugin.extractor import Extractor, Features, MetricProtocol
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.generator_file import SampledRun
from gankit.sampling.sampler import Sampler

LONG_PREPARATION = 5.0  # time in seconds; if the preparation of the metrics takes longer, a message is printed

MIN_TRIAL = 32
"""Minimum number of images in a trial evaluation. The trial is used to estimate the duration of a full evaluation."""

DATA_LABELS, EVEN_LABELS, EXAMPLES = "as in the data", "even shares", "examples of the training data"
"""Values of the entry `labels` in the protocol of a metric. A protocol lists the facts that affect the metric's value.

`DATA_LABELS`: the generated samples have the labels, or other conditions, of the real samples. `EVEN_LABELS`: each
class has the same number of generated samples. `EXAMPLES`: the generated samples have conditions from the generator's
training data.
"""

CACHE_VERSION = 1
"""Version of the feature cache. Features from a cache with another version are computed again."""


class EvaluatedRun(SampledRun, Protocol):
    """Interface (`typing.Protocol`) with the attributes and methods of a run that the evaluator uses."""

    dataset: Dataset
    networks: dict[str, nn.Module]
    batches: BatchSource | None
    metrics: dict[str, Metric]  # all implementations of the hook `compute_metrics`, by the key of their plugin

    def build_extractor(self) -> Extractor:
        """Build and return the feature extractor that the recipe specifies."""

    def warn(self, sentence: str) -> None:
        """Show a warning to the user."""


class Evaluator:
    """Evaluator that computes the metrics of one run.

    The run's data must already be loaded. Evaluations do not affect training.
    """

    def __init__(self, run: EvaluatedRun) -> None:
        assert run.batches is not None, "load_data comes first"
        self.run, self.settings = run, run.recipe.evaluation
        self.budget = Budget(self.settings.budget)
        start = time.perf_counter()
        with self.budget.charged(), fork_rng(run.device):
            count = min(self.settings.count, run.batches.size)
            rows = run.batches.reference(count, 0, self.settings.seed)
            real = replace(samples_of(rows.map(Tensor.cpu), run.dataset.condition), encoding=run.dataset.encoding)
            # Without an extractor, there are no features. Metrics then compare the samples directly.
            self.reference = Reference(real)
            if "extractor" in run.recipe.components:
                extractor, plugin = run.build_extractor(), run.recipe.components["extractor"]
                self.reference = with_features(real, run.dataset, extractor, plugin, self.budget.one_time_work)
        if (seconds := time.perf_counter() - start) > LONG_PREPARATION:
            # Print a message rather than a warning, because the report of the run shows each warning as a problem.
            sentence = f"preparing the metrics took {seconds:.0f} s; the result is cached for later runs"
            print(sentence, file=sys.stderr, flush=True)
        self._tried = False
        self._reasons: set[str] = set()

    def due(self) -> bool:
        """Return True if an evaluation is scheduled at the current iteration and the budget allows it.

        Before the first evaluation, run a trial evaluation with fewer images to estimate the time.
        """
        if self.run.iteration % self.settings.every:
            return False
        if not self._tried and self.budget.allows():
            self._run_trial()
        if self.budget.allows():
            return True
        self.budget.skipped += 1
        return False

    def row(self, strict: bool = True) -> dict[str, Any]:
        """Compute the metrics, and return a row for log.jsonl.

        The row contains the metrics, their protocol, their settings and the computation time in seconds. If a metric
        fails, raise InputError, or show a warning if `strict` is false.
        """
        before = self.budget.spent
        with self.budget.evaluation():
            protocol, results = self._compare(self.settings.count)
        if strict:
            results.checked()
        else:
            self._warn(results)
        seconds = self.budget.spent - before
        return metrics_row(self.run.iteration, results, protocol, self.run.recipe.components, seconds)

    def metrics_of(self, fake: Rows) -> dict[str, float]:
        """Return the metrics of n given samples, by name. The samples are compared with at most n real samples.

        Floating-point samples in [-1, 1] are converted to uint8 if the data are images.

        Raises:
            InputError: the samples and the data differ in shape or type, or a metric fails.
        """
        run, reference = self.run, self.reference.first(len(fake.images))
        real = reference.samples.images
        if fake.images.is_floating_point() and not real.is_floating_point():
            fake = fake._replace(images=to_bytes(fake.images))
        if fake.images.shape[1:] != real.shape[1:] or fake.images.is_floating_point() != real.is_floating_point():
            given, data = (f"{tuple(one.shape[1:])}, {one.dtype}" for one in (fake.images, real))
            raise InputError(f"samples: given with shape and type {given}; the data have {data}")
        with fork_rng(run.device):
            samples = samples_of(fake.map(Tensor.cpu), run.dataset.condition)
            facts = comparison_facts(run.recipe.components, reference.samples, samples, self.settings.seed)
            comparison = reference.compare(samples, facts | {"generator": "given samples"})
            return compute_all(run.metrics, comparison).checked().numbers

    def _run_trial(self) -> None:
        """Estimate the time of an evaluation by running a trial evaluation with fewer images."""
        self._tried = True
        few = min(self.settings.count, max(MIN_TRIAL, self.settings.count // 10))
        with self.budget.evaluation():
            self._compare(few)
        self.budget.expected *= self.settings.count / few

    def _compare(self, count: int) -> tuple[MetricProtocol, MetricResults]:
        """Compare `count` generated samples with at most `count` real samples. Return the protocol and the metrics."""
        run, seed = self.run, self.settings.seed
        sampler, reference = Sampler.of_run(run), self.reference.first(count)
        with fork_rng(run.device), ExitStack() as stack:
            for network in run.networks.values():
                stack.enter_context(eval_mode(network))
            fake = generate(sampler, count, seed, reference.samples)
            facts = comparison_facts(run.recipe.components, reference.samples, fake, seed)
            facts |= generator_facts(sampler, reference.samples, run.sampled_generator_name())
            try:
                comparison = reference.compare(fake, facts, run.networks)
            except GankitError as error:
                # The comparison failed, for example because there are too few images. All metrics then fail with this
                # error.
                return facts, MetricResults({}, {}, [], dict.fromkeys(run.metrics, error))
            return comparison.protocol, compute_all(run.metrics, comparison)

    def _warn(self, results: MetricResults) -> None:
        """Show one warning for each reason why metrics failed or do not apply. The warning names these metrics."""
        reasons: dict[str, list[str]] = {}
        for key, error in results.failed.items():
            reasons.setdefault(str(error), []).append(key)
        if results.not_applicable:
            reasons["not applicable to these images with this extractor"] = results.not_applicable
        for reason, keys in reasons.items():
            if reason not in self._reasons:
                self._reasons.add(reason)
                self.run.warn(f"{', '.join(keys)}: {reason}")


@dataclass(frozen=True)
class Reference:
    """Real samples for the comparison with generated samples, and the features of the real samples."""

    samples: Samples
    extractor: Extractor | None = None
    features: Features | None = None
    dataset_features: Callable[[], Features] | None = None
    """Function that returns the features of all images of the dataset. None if `samples` contains all images."""

    def first(self, count: int) -> Reference:
        """Return a `Reference` with only the first `count` samples and their features."""
        s, f = self.samples, self.features
        condition = None if s.condition is None else s.condition[:count]
        samples = replace(s, images=s.images[:count], condition=condition)
        features = None if f is None else Features(f.values[:count], None if f.logits is None else f.logits[:count])
        return replace(self, samples=samples, features=features)

    def compare(
        self, fake: Samples, facts: MetricProtocol, networks: Mapping[str, nn.Module] = MappingProxyType({})
    ) -> Comparison:
        """Return a `Comparison` of the real samples with the generated samples `fake`.

        `facts` describe how the metrics are computed, for example the seed. They are stored with each metric.
        `networks` are those of the run, if there is one.

        Raises:
            InputError: there are too few images.
        """
        return Comparison(self.samples, fake, self.extractor, facts, self.features, self.dataset_features, networks)


def with_features(
    real: Samples,
    dataset: Dataset,
    extractor: Extractor,
    component: Component,
    one_time_work: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Reference:
    """Return a `Reference` that contains the real samples `real` and their features.

    `component` is the plugin that provides `extractor`. `dataset` must be a dataset that `loaded_once` returned, so
    that the images are not read again. The features of the whole dataset are computed at first use, inside the context
    manager `one_time_work`.
    """
    rows = dataset.read()

    @cache
    def dataset_features() -> Features:
        with one_time_work(), sequential_access(rows.images):
            return cached_features(samples_of(rows, dataset.condition), extractor, component)

    whole = len(rows.images) == len(real.images)
    features = cached_features(real, extractor, component)
    return Reference(real, extractor, features, None if whole else dataset_features)


def cached_features(real: Samples, extractor: Extractor, component: Component) -> Features:
    """Return the features of real images from the disk cache. Compute missing features and add them to the cache.

    The cache key includes the version, source and settings of `component`, the extractor's plugin.
    """

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        features = extractor(real.images)
        return {"values": features.values} | ({} if features.logits is None else {"logits": features.logits}), {}

    plugin = component.resolved
    code = [plugin.origin, plugin.distribution, plugin.version, plugin.source_digest]
    key = [CACHE_VERSION, real.digest(), dict(extractor.facts), code, component.config.model_dump(mode="json")]
    tensors, _ = disk_cache("features", key, compute)
    return Features(tensors["values"], tensors.get("logits"))


def comparison_facts(components: Mapping[str, Component], real: Samples, fake: Samples, seed: int) -> dict[str, Fact]:
    """Return facts about a comparison of real and generated images. The facts are logged with the metrics.

    The facts are the name, hash and split of the real images, the numbers of images, and the seed. For an extractor
    from a file or a module, the facts also include the hash of its source code.
    """
    data = components["data"]
    source = source_of(components["extractor"]) if "extractor" in components else {}
    return {
        **{f"extractor {name}": fact for name, fact in source.items()},
        "real": f"{data.plugin_class.name} {real.digest()[:12]}",
        "split": str(getattr(data.config, "split", "all")),
        "real images": len(real.images),
        "generated images": len(fake.images),
        "seed": seed,
    }


def generator_facts(sampler: Sampler, real: Samples, name: str) -> dict[str, Fact]:
    """Return facts about a generator, for the protocol of the metrics.

    `name` is the name of the plugin that provides the generator for sampling, or `newest` for the trained generator.
    """
    if sampler.condition is None or has_condition_of(sampler, real):
        labels = DATA_LABELS
    else:
        labels = EVEN_LABELS if sampler.class_names else EXAMPLES
    return {"generator": name, "generated resize": "none", "labels": labels}


def metrics_row(
    iteration: int,
    results: MetricResults,
    protocol: MetricProtocol,
    components: Mapping[str, Component],
    seconds: float,
) -> dict[str, Any]:
    """Return a row for log.jsonl: metrics, their protocol, their settings and the computation time in seconds."""
    settings = {name: settings_of(components[key]) for name, key in results.keys.items()}
    return {
        "iteration": iteration,
        "metrics": results.numbers,
        "protocol": dict(protocol),
        "settings": {name: facts for name, facts in settings.items() if facts},
        "seconds": seconds,
    }


def has_condition_of(sampler: Sampler, real: Samples) -> bool:
    """Return True if an evaluation generates samples with the labels, or other conditions, of the real samples.

    Return False if training used balanced batches, or if the real samples and the generator's data have different
    conditions.
    """
    return real.condition is not None and real.described == sampler.condition and not sampler.spec.class_balanced


def condition_for(sampler: Sampler, count: int, seed: int, real: Samples) -> Tensor | None:
    """Return the condition (count, ...) of the samples to generate, or None for an unconditional generator.

    Raises:
        InputError: the generator takes source images, but the real samples have no source images.
    """
    if sampler.condition is not None and has_condition_of(sampler, real):
        assert real.condition is not None
        return real.condition[torch.arange(count) % len(real.condition)]
    if isinstance(sampler.condition, ImageCondition):
        raise InputError(
            f"the generator takes {sampler.condition.describe()}, and the real images have none; compare with data "
            "that have them"
        )
    return sampler.conditions(count, seed=seed)


def samples_of(rows: Rows, condition: Condition | None) -> Samples:
    """Return `Samples` with the images and the condition of the rows. uint16 images are converted to uint8."""
    images = to_eight_bits(rows.images)
    return Samples(images) if rows.condition is None else Samples(images, rows.condition, condition)


def select(rows: Rows, count: int, seed: int, condition: Condition | None = None) -> Samples:
    """Return `count` randomly selected rows as samples. If there are fewer rows, return all rows in random order.

    With the same seed, an evaluation during a run and `gankit eval` select the same images.
    """
    return samples_of(Batches(rows, min(count, len(rows.images)), 0, seed).next(), condition)


def generate(sampler: Sampler, count: int, seed: int, real: Samples) -> Samples:
    """Return `count` generated samples: floating point if the real samples are floating point, otherwise uint8."""
    condition = condition_for(sampler, count, seed, real)
    z = sampler.latent(count, condition, derived_seed(seed, "evaluation"))
    outputs = sampler.outputs if real.images.is_floating_point() else sampler.images
    images = torch.cat(list(outputs(z, condition)))
    return samples_of(Rows(images, condition), sampler.condition)
