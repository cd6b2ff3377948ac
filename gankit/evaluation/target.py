"""What `gankit eval` measures: a run, a generator file, or images that lie somewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gankit.dataset import Dataset
from gankit.errors import InputError
from gankit.evaluation.comparison import Comparison, Samples, measured
from gankit.evaluation.evaluator import chosen, drawn, facts_of, features_of
from gankit.game import build_plugins, choose_device, refusing
from gankit.recipe import Evaluation, Raw, Reader, merge
from gankit.registry import Registry
from gankit.run_dir import RunDir
from gankit.sampling import Sampler, refuse_strange
from gankit.spec import Spec

USUAL = ("frechet_distance", "precision_recall", "density_coverage", "modes", "memorisation")
"""Measured when nothing is named."""


def evaluate(
    target: Path,
    against: str | None,
    changes: Raw,
    device: str = "auto",
    trust: bool = False,
    measures: Iterable[str] = (),
) -> dict[str, Any]:
    """Measures a target against real images, by the protocol that runs use too.

    Args:
        target: a run directory, a `generator.safetensors`, or images: a folder, a zip file or a prepared file.
        against: a data plugin's name, or images; None for the data that the generator was trained on.
        changes: tables `data`, `extractor`, `measures`, `evaluation` of a recipe, over the usual ones.
        device: where to compute.
        trust: import what a generator file names by module or by path.
        measures: these alone; left out, those of the generator's recipe, or the usual ones.

    Returns a row as log.jsonl has them: iteration, measures, protocol, seconds.

    Raises InputError when something cannot be used.
    """
    began = time.perf_counter()
    sampler = sampler_of(target, device, trust)
    recipe: Raw = sampler.card["recipe"] if sampler is not None else {}
    if against is None and sampler is None:
        raise InputError("--against: say which real images a folder is to be compared with: a dataset, a folder, a zip")
    named: Raw = {name: {} for name in measures}
    wanted: Raw = named or recipe.get("measures") or {name: {} for name in USUAL}
    raw: Raw = {"data": recipe.get("data") if against is None else data_table(against), "measures": wanted}
    raw |= {table: recipe[table] for table in ("extractor", "evaluation") if table in recipe}
    if sampler is not None:
        raw = harmless(raw)
    reader = Reader(merge(raw, changes), str(target), Registry.installed())
    keys = ["data", "extractor", *(f"measures.{name}" for name in reader.table("measures"))]
    if sampler is not None and not trust:
        refuse_strange(target, set(reader.uses_at(keys)) & set(Reader(raw, str(target), Registry([])).uses_at(keys)))
    parts = reader.parts_at(keys)
    settings = reader.settings(Evaluation, reader.table("evaluation"), "evaluation")
    reader.complain()
    assert isinstance(settings, Evaluation)
    _, hooks = build_plugins(parts, str(target))
    with refusing(str(target), "data"):
        dataset = hooks.one("load_data", Spec())
    with refusing(str(target), "extractor"):
        extractor = hooks.one("build_extractor", dataset, choose_device(device))
    images, labels = dataset.load()
    real = chosen(images, labels, settings.count, settings.seed)
    if sampler is None:
        fake, which = images_at(target, dataset, settings), f"images at {target.name}"
    else:
        fake, which = drawn(sampler, settings.count, settings.seed, real), sampler.card.get("generator", "newest")
    if fake.images.shape[1:] != real.images.shape[1:]:
        raise InputError(
            f"{target} has images of {shape(fake)}, and the real ones are {shape(real)}; say data.resolution=N, or "
            "name other images --against"
        )
    facts = facts_of(parts["data"], real, fake, settings.seed, which)
    comparison = Comparison(real, fake, extractor, facts, features_of(real, extractor))
    return {
        "iteration": 0 if sampler is None else sampler.card["iteration"],
        "measures": measured(hooks.calls("measure"), comparison),
        "protocol": dict(comparison.protocol),
        "seconds": time.perf_counter() - began,
    }


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
    from gankit.prepared import read_prepared

    try:
        read_prepared(path)
    except InputError:
        return False
    return True


def data_table(against: str) -> Raw:
    """A dataset by the name of its plugin, or images by their path."""
    if against in Registry.installed().names("data"):
        return {"use": against}
    if not Path(against).exists():
        known = ", ".join(Registry.installed().names("data"))
        raise InputError(
            f"--against {against}: there is no such folder or file, and no such dataset; there are {known}"
        )
    return {"use": "images", "path": str(Path(against).absolute())}


def harmless(tables: Raw) -> Raw:
    """What a generator's file says of data and extractor, without `download`: that is for the user to ask."""
    return {
        name: {key: value for key, value in table.items() if key != "download"} if isinstance(table, dict) else table
        for name, table in tables.items()
    }


def images_at(target: Path, dataset: Dataset, settings: Evaluation) -> Samples:
    """The images of a folder, a zip file or a prepared file, brought to the size of a dataset's."""
    table = {"use": "images", "path": str(target.absolute()), "classes": False}
    if target.suffix != ".safetensors":
        table |= {"resolution": dataset.resolution, "channels": dataset.channels}
    reader = Reader({"data": table}, str(target), Registry.installed())
    _, own = build_plugins(reader.parts_at(["data"]), str(target))
    with refusing(str(target), "data"):
        images, _ = own.one("load_data", Spec()).load()
    return chosen(images, None, settings.count, settings.seed)


def shape(samples: Samples) -> str:
    return "x".join(map(str, samples.images.shape[1:]))
