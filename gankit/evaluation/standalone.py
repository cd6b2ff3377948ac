"""What `gankit eval` measures: a run, a generator file, or images that lie somewhere."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from gankit.errors import InputError, recipe_errors
from gankit.evaluation.evaluator import (
    AS_REAL,
    chosen,
    drawn,
    facts_of,
    facts_of_generator,
    features_of,
    features_of_everything,
    settings_by_number,
)
from gankit.evaluation.metrics import MetricResults, compute_all
from gankit.evaluation.protocol import Fact
from gankit.plugin.build import build_plugins
from gankit.plugin.comparison import Comparison, Samples
from gankit.plugin.component import Component
from gankit.plugin.dataset import Dataset, loaded_once
from gankit.plugin.extractor import Extractor
from gankit.plugin.hooks import Hooks
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import RecipeParser
from gankit.recipe.settings import Evaluation
from gankit.recipe.toml import Raw, merge
from gankit.runtime.device import choose_device
from gankit.sampling.generator_file import refuse_untrusted
from gankit.sampling.sampler import Sampler
from gankit.storage.run_dir import RunDir
from gankit.suggest import nearest

USUAL = ("frechet_distance", "precision_recall", "density_coverage", "modes", "memorisation")
"""Measured when nothing is named."""

ABBREVIATED = {"fid": "frechet_distance", "kid": "kernel_distance", "is": "inception_score"}
"""What measures are called elsewhere."""

TABLES = ("data", "extractor", "metrics", "evaluation")
"""Those of a recipe that say how it is measured."""


def evaluate(
    target: Path,
    against: str | None,
    changes: Raw,
    device: str = "auto",
    trust: bool = False,
    metrics: Iterable[str] = (),
) -> dict[str, Any]:
    """Measures a target against real images, by the protocol that runs use too.

    Args:
        target: a run directory, a `generator.safetensors`, or images: a folder, a zip file or a prepared file.
        against: a data plugin's name, or images; None for the data that the generator was trained on.
        changes: tables `data`, `extractor`, `measures`, `evaluation` of a recipe, over the usual ones.
        device: where to compute.
        trust: follow a generator file wherever it leads: to Python files and modules, and to networks by their paths.
        measures: these alone; left out, those of the generator's recipe, or the usual ones.

    Returns a row as log.jsonl has them: iteration, measures, protocol, settings, seconds; and the target, and what was
    asked for and has nothing to say.

    Raises InputError when something cannot be used or measured.
    """
    began = time.perf_counter()
    refuse_unknown(changes)
    sampler = sampler_of(target, device, trust)
    asked = tuple(metrics)
    tables = narrowed(merge(tables_of(sampler, against), changes), asked)
    plan = plan_of(target, tables, changes, trusted=sampler is None or trust)
    dataset, real = plan.real_images()
    if sampler is None:
        plan.refuse_points(real)
    extractor = plan.extractor(dataset, device)
    fake, of_fake = plan.images_to_measure(sampler, dataset, real)
    facts = facts_of(plan.components, real, fake, plan.settings.seed) | of_fake
    looking = real, extractor, plan.components["extractor"]
    everything = features_of_everything(dataset, *looking)
    comparison = Comparison(real, fake, extractor, facts, features_of(*looking), dataset_features=everything)
    found = compute_all({i.key: i.call for i in plan.hooks.of("compute_metrics")}, comparison).or_refused()
    refuse_silence(found, comparison)
    return {
        "target": str(target),
        "iteration": 0 if sampler is None else sampler.card["iteration"],
        "metrics": found.numbers,
        "protocol": dict(comparison.protocol),
        "settings": settings_by_number(found, plan.components),
        "left_out": in_silence(found) if asked else "",
        "seconds": time.perf_counter() - began,
    }


# What is asked for


def refuse_unknown(changes: Raw) -> None:
    """Raises InputError, with the nearest name, for a table that has nothing to do with measuring."""
    for key in changes:
        if key in Evaluation.model_fields:
            raise InputError(f"{key}: unknown key; did you mean 'evaluation.{key}'?")
        if key not in TABLES:
            raise InputError(f"{key}: unknown key; {nearest(key, TABLES)}there are {', '.join(TABLES)}")


def tables_of(sampler: Sampler | None, against: str | None) -> Raw:
    """What is measured, and how, unless the user says otherwise: as the generator's recipe has it, or as usual.

    A generator's file may ask for no download: that is for the user.
    """
    if against is None and sampler is None:
        raise InputError("--against: say which real images a folder is to be compared with: a dataset, a folder, a zip")
    recipe: Raw = sampler.card["recipe"] if sampler is not None else {}
    theirs: Raw = {table: without_download(recipe[table]) for table in TABLES if table in recipe}
    usual: Raw = {name: {} for name in USUAL}
    return theirs | {"metrics": theirs.get("metrics") or usual} | ({} if against is None else data_table(against))


def without_download(table: Any) -> Any:
    if not isinstance(table, dict):
        return table
    return {key: without_download(value) for key, value in table.items() if key != "download"}


def data_table(against: str) -> Raw:
    """A dataset by the name of its plugin, or images by their path."""
    if against in Registry.installed().names("data"):
        return {"data": {"use": against}}
    if not Path(against).exists():
        known = ", ".join(Registry.installed().names("data"))
        raise InputError(
            f"--against {against}: there is no such folder or file, and no such dataset; there are {known}"
        )
    return {"data": {"use": "images", "path": str(Path(against).absolute())}}


def narrowed(tables: Raw, metrics: Collection[str]) -> Raw:
    """The tables with these measures alone, by their own names or their plugins', with the settings that they have."""
    known = tables["metrics"]
    for name in set(metrics) & set(ABBREVIATED):
        raise InputError(f"--metric {name}: it is called {ABBREVIATED[name]} here")
    if not metrics or not isinstance(known, dict):
        return tables
    named: Raw = {}
    for name in metrics:
        named |= {own: table for own, table in known.items() if name in (own, plugin_at(own, table))} or {name: {}}
    return tables | {"metrics": named}


def plugin_at(name: str, table: Any) -> str:
    """Which measure stands under a name."""
    return str(table.get("use", name)).partition("@")[0] if isinstance(table, dict) else name


@dataclass(frozen=True)
class Plan:
    """What is measured with what."""

    target: Path
    components: Mapping[str, Component]
    hooks: Hooks
    settings: Evaluation

    @property
    def source(self) -> str:
        return str(self.target)

    def real_images(self) -> tuple[Dataset, Samples]:
        """The dataset, and those of its images that are compared with."""
        with recipe_errors(self.source, "data"):
            dataset = loaded_once(self.hooks.one("load_data", Spec()))
        settings = self.settings
        return dataset, chosen(*dataset.load(), settings.count, settings.seed, dataset.class_names)

    def refuse_points(self, real: Samples) -> None:
        """Raises InputError when pictures would be compared with what are none."""
        if real.images.is_floating_point():
            data = self.components["data"].plugin_class.name
            raise InputError(f"{self.target} holds pictures, and {data} gives points; name pictures --against")

    def extractor(self, dataset: Dataset, device: str) -> Extractor:
        """Raises InputError when what it needs is not there."""
        with recipe_errors(self.source, "extractor"):
            built: Extractor = self.hooks.one("build_extractor", dataset, choose_device(device))
            return built

    def images_to_measure(
        self, sampler: Sampler | None, dataset: Dataset, real: Samples
    ) -> tuple[Samples, dict[str, Fact]]:
        """What the generator draws, or the images at the target; and how they came about.

        Raises InputError when they cannot be compared with the real ones.
        """
        if sampler is not None:
            fake = drawn(sampler, self.settings.count, self.settings.seed, real)
            facts = facts_of_generator(sampler, real, sampler.card.get("generator", "newest"))
        else:
            images, note = pictures_at(self.target, dataset)
            fake = chosen(images, None, self.settings.count, self.settings.seed)
            facts = {"generator": "images", "generated resize": note or "none", "labels": AS_REAL}
        if fake.images.shape[1:] != real.images.shape[1:]:
            raise InputError(
                f"{self.target} has images of {shape(fake)}, and the real ones are {shape(real)}; say "
                "data.resolution=N, or name other images --against"
            )
        return fake, facts


def plan_of(target: Path, tables: Raw, changes: Raw, trusted: bool) -> Plan:
    """The plugins and settings that tables ask for.

    Args:
        target: what is measured.
        tables: what is asked for.
        changes: what of that comes from the user.
        trusted: whether the rest is the user's too, or may be followed wherever it leads.

    Raises InputError for what cannot be used, or must not be.
    """
    reader = RecipeParser(tables, target, Registry.installed())
    keys = ["data", "extractor", *(f"metrics.{name}" for name in reader.table("metrics"))]
    if not trusted:
        theirs = [key for key in keys if "use" not in said_at(changes, key)]
        refuse_untrusted(target, RecipeParser(tables, target, Registry([])).uses_at(theirs))
    parts = reader.components_at(keys)
    settings = reader.settings(Evaluation, reader.table("evaluation"), "evaluation")
    reader.raise_problems()
    assert isinstance(settings, Evaluation)
    if not trusted:
        refuse_paths(target, parts, changes)
    return Plan(target, parts, build_plugins(parts, str(target))[1], settings)


def said_at(changes: Raw, key: str) -> set[str]:
    """What the user has said of a plugin's place: `use` and settings."""
    table: Any = changes
    for word in key.split(".", 1):
        table = table.get(word, {}) if isinstance(table, dict) else {}
    return {"use"} if isinstance(table, str) else set(table)


def refuse_paths(target: Path, parts: Mapping[str, Component], changes: Raw) -> None:
    """Raises InputError when a generator file leads to another file, which may hold code: a TorchScript network does.

    Only numbers, switches and what a plugin has by default are taken from it. Images are different: to decode some runs
    nothing, and where a run's own lie is in its file.
    """
    for key, part in parts.items():
        for name, field in type(part.config).model_fields.items():
            value = getattr(part.config, name)
            tame = isinstance(value, bool | int | float | None) or value == field.get_default(call_default_factory=True)
            if key != "data" and not tame and name not in said_at(changes, key):
                raise InputError(
                    f"{target} names {key}.{name} = {value}, which may lead to code; if you trust it, say --trust, or "
                    f"name your own: {key}.{name}=..."
                )


# What is there


def sampler_of(target: Path, device: str, trust: bool) -> Sampler | None:
    """The generator of a run or of a file; None for images."""
    if (target / "recipe.toml").exists():
        file = RunDir.open(target).generator_file
        if not file.exists():
            raise InputError(f"{target} holds no generator yet; `gankit resume {target}` goes on with the run")
        return Sampler.load(file, device, trust)
    if target.suffix == ".safetensors" and not is_prepared(target):
        return Sampler.load(target, device, trust)
    if not target.exists():
        raise InputError(f"there is no run, generator file or folder of images {target}")
    return None


def is_prepared(path: Path) -> bool:
    """Whether a file holds images, rather than a generator."""
    from gankit.data.prepared import read_prepared

    try:
        read_prepared(path)
    except InputError:
        return False
    return True


def pictures_at(target: Path, dataset: Dataset) -> tuple[Tensor, str]:
    """The images of a folder, a zip file or a prepared file, brought to the size of a dataset's; and how they were."""
    table = {"use": "images", "path": str(target.absolute()), "classes": False}
    if target.suffix != ".safetensors":
        table |= {"resolution": dataset.resolution, "channels": dataset.channels}
    reader = RecipeParser({"data": table}, str(target), Registry.installed())
    _, own = build_plugins(reader.components_at(["data"]), str(target))
    with recipe_errors(str(target), "data"):
        found: Dataset = own.one("load_data", Spec())
        return found.load()[0], found.note


def shape(of: Samples) -> str:
    return "x".join(map(str, of.images.shape[1:]))


# What is found


def refuse_silence(found: MetricResults, comparison: Comparison) -> None:
    """Raises InputError when no measure has anything to say."""
    if not found.numbers:
        raise InputError(f"{in_silence(found)}, {comparison.protocol['extractor']}; name another --extractor")


def in_silence(found: MetricResults) -> str:
    """Which measures have nothing to say, and why that may be; empty when all have spoken."""
    if not found.not_applicable:
        return ""
    names = ", ".join(key.removeprefix("metrics.") for key in found.not_applicable)
    return f"{names}: nothing to say of images without classes, or through an extractor that does not know them"
