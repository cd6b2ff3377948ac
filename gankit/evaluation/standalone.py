"""Evaluation of a run, a generator file or images, for `gankit eval`."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gankit.data.load import checked_table
from gankit.data.prepared import read_prepared
from gankit.data.user_images import read_images
from gankit.errors import InputError, recipe_errors
from gankit.evaluation.evaluator import (
    DATA_LABELS,
    Reference,
    comparison_facts,
    generate,
    generator_facts,
    metrics_row,
    select,
    with_features,
)
from gankit.evaluation.metrics import MetricResults, compute_all
from gankit.evaluation.protocol import Fact
from gankit.plugin.build import build_plugins
from gankit.plugin.comparison import Samples
from gankit.plugin.component import Component
from gankit.plugin.dataset import Dataset, Rows, in_eight_bits, loaded_once
from gankit.plugin.extractor import Extractor
from gankit.plugin.registry import Registry
from gankit.plugin.spec import Spec
from gankit.recipe.recipe import RecipeParser
from gankit.recipe.settings import Evaluation
from gankit.recipe.toml import Raw, merge
from gankit.runtime.device import choose_device
from gankit.sampling.generator_file import refuse_untrusted
from gankit.sampling.sampler import Sampler
from gankit.storage.hub import is_address, parse_address
from gankit.suggest import nearest

DEFAULT_METRICS = ("frechet_distance", "precision_recall", "density_coverage", "modes", "memorisation")
"""Metrics that are computed if neither the user nor the recipe specifies metrics."""

CLASSIFIER = "classifier"
"""Extractor that `class_extractor` uses by default. It is trained only on the real images."""

TABLES = ("data", "extractor", "metrics", "evaluation")  # tables of a recipe that affect how metrics are computed


def evaluate(
    target: Path,
    against: str | None,
    changes: Raw,
    device: str = "auto",
    trust: bool = False,
    metrics: Iterable[str] = (),
    preparing: Callable[[str], None] = lambda stage: None,
) -> dict[str, Any]:
    """Compute metrics that compare generated images with real images, in the same way as during a run.

    Args:
        target: source of the generated images: a run directory, a generator.safetensors file, an address
            `hf://USER/NAME` on the hub, or images in a folder, a zip file or a file written by `gankit prepare`.
        against: name of a data plugin, or path to real images. None means the training data of the generator.
        changes: settings from the user, in the tables `data`, `extractor`, `metrics` and `evaluation` of a recipe. They
            replace the defaults and the settings of the generator's recipe.
        device: device to use.
        trust: True if settings in the generator file may import Python files and modules, and load network files.
        metrics: names of the metrics to compute. Default: the metrics of the generator's recipe, or `DEFAULT_METRICS`.
        preparing: function that is called with the name of each stage when the stage begins.

    Returns:
        A dictionary with the entries of a row of log.jsonl: iteration, metrics, protocol, settings and seconds. Two
        entries are added: `target`, and `left_out`, a sentence that names the requested metrics that do not apply.

    Raises:
        InputError: an argument cannot be used, a metric failed, or no metric applies.
    """
    start, requested = time.perf_counter(), tuple(metrics)
    check_tables(changes)
    sampler = sampler_of(target, device, trust)
    tables = select_metrics(merge(default_tables(sampler, against), changes), requested)
    trusted = sampler is None or trust
    components, settings = resolve(target, tables, changes, trusted)
    _, hooks = build_plugins(components, str(target))

    with recipe_errors(str(target), "data"):
        dataset = loaded_once(in_eight_bits(hooks.one("load_data", Spec())))
    real = select(dataset.read(), settings.count, settings.seed, dataset.condition)
    real = replace(real, encoding=dataset.encoding)
    if sampler is None and real.images.is_floating_point():
        name = components["data"].plugin_class.name
        raise InputError(f"{target}: holds images, and {name} has points; name images with --against")
    # The data plugin may compute metrics too. Omit these metrics if the user has requested specific metrics.
    calls = {i.key: i.call for i in hooks.of("compute_metrics") if i.key.startswith("metrics.") or not requested}
    own = {key: call for key, call in calls.items() if not key.startswith("metrics.")}
    if own and real.images.is_floating_point() and not chosen(sampler, changes):
        # The samples are points, not images. The data plugin computes metrics of points, which need no extractor. If a
        # recipe specifies no metrics and no extractor, a run computes the same metrics.
        calls, components = own, {key: c for key, c in components.items() if key != "extractor"}
        reference = Reference(real)
    else:
        preparing("computing the features of the real images")
        with recipe_errors(str(target), "extractor"):
            extractor: Extractor = hooks.one("build_extractor", dataset, choose_device(device))
        reference = with_features(real, dataset, extractor, components["extractor"])
    preparing(f"generating {settings.count} images")
    fake, fake_facts = fake_samples(target, sampler, dataset, real, settings)
    facts = comparison_facts(components, real, fake, settings.seed) | fake_facts
    preparing("computing the metrics")
    comparison = reference.compare(fake, facts)
    results = compute_all(calls, comparison).checked()
    if not results.numbers:
        raise InputError(
            f"{not_applicable(results)}; the extractor is {comparison.protocol['extractor']}; choose another with "
            "--extractor"
        )
    iteration = 0 if sampler is None else sampler.card["iteration"]
    seconds = time.perf_counter() - start
    row = metrics_row(iteration, results, comparison.protocol, components, seconds)
    return row | {
        "target": str(parse_address(target) if is_address(target) else target),
        "left_out": not_applicable(results) if requested else "",
    }


def metric_of(
    file: Path, metric: str, against: str | None, changes: Raw, device: str = "auto", trust: bool = False
) -> float:
    """Return one number that `evaluate` computes for a generator file. The other arguments are those of `evaluate`.

    Args:
        file: generator file.
        metric: name of a metric whose number has the same name, such as `frechet_distance`.

    Raises:
        InputError: as for `evaluate`, or the metric gives no number of its name.
    """
    numbers = evaluate(file, against, changes, device, trust, (metric,))["metrics"]
    if metric not in numbers:
        raise InputError(f"{metric}: gives no number of this name, but {', '.join(numbers)}; choose another metric")
    return float(numbers[metric])


def class_extractor(
    target: Path, sampler: Sampler, against: str | None, changes: Raw, device: str = "auto", trust: bool = False
) -> Extractor:
    """Return an extractor whose logits predict the classes of a generator. It learns the classes from real images.

    Args:
        target: run directory or generator file of `sampler`, for messages.
        sampler: sampler of a class-conditional generator.
        against: name of a data plugin, or path to real images. None means the training data of the generator.
        changes: settings from the user, in the tables `data` and `extractor` of a recipe.
        device: device of the extractor.
        trust: True if settings in the generator file may import Python files and modules.

    Raises:
        InputError: an argument cannot be used, the real images have another shape, or the extractor does not predict
            the classes.
    """
    for key in changes:
        if key not in ("data", "extractor"):
            raise InputError(f"{key}: settings of the classifier are in the tables data and extractor")
    tables = default_tables(sampler, against) | {"metrics": {}, "extractor": {"use": CLASSIFIER}}
    components, _ = resolve(target, merge(tables, changes), changes, trust)
    _, hooks = build_plugins(components, str(target))
    with recipe_errors(str(target), "data"):
        dataset = loaded_once(in_eight_bits(hooks.one("load_data", Spec())))
    if dataset.shape != sampler.spec.shape:
        real, fake = ("x".join(map(str, shape)) for shape in (dataset.shape, sampler.spec.shape))
        raise InputError(
            f"{target}: the generated samples are {fake}, and the real ones are {real}; set data.resolution and "
            "data.channels to the same size"
        )
    with recipe_errors(str(target), "extractor"):
        extractor: Extractor = hooks.one("build_extractor", dataset, choose_device(device))
    if missing := [name for name in sampler.class_names if name not in extractor.class_names]:
        raise InputError(
            f"{target}: the extractor {extractor.name} does not predict the class {missing[0]!r} better than chance; "
            "name more real images of this class with --against, or choose another extractor"
        )
    return extractor


def chosen(sampler: Sampler | None, changes: Raw) -> bool:
    """Return True if the user or the generator's recipe specifies metrics or an extractor."""
    recipe = sampler.card["recipe"] if sampler is not None else {}
    return any(tables.get(name) for tables in (recipe, changes) for name in ("metrics", "extractor"))


def not_applicable(results: MetricResults) -> str:
    """Return a sentence that names the metrics that do not apply, or an empty string if all metrics apply."""
    if not results.not_applicable:
        return ""
    names = ", ".join(key.removeprefix("metrics.") for key in results.not_applicable)
    return (
        f"{names}: not applicable to images without classes, to an extractor without these classes, or to real images "
        "of which most are copies"
    )


# Functions that build and check the tables of the recipe


def check_tables(changes: Raw) -> None:
    """Raise InputError if `changes` contains a table that is not in `TABLES`. Such a table would have no effect."""
    for key in changes:
        if key in Evaluation.model_fields:
            raise InputError(f"{key}: unknown key; did you mean 'evaluation.{key}'?")
        if key not in TABLES:
            raise InputError(f"{key}: unknown key; {nearest(key, TABLES)}there are {', '.join(TABLES)}")


def default_tables(sampler: Sampler | None, against: str | None) -> Raw:
    """Return the recipe tables for the evaluation: the tables of the generator's recipe, if there is a generator.

    If the tables contain no metrics, `DEFAULT_METRICS` are added. If `against` is given, the table `data` is replaced
    by a table for the real images that `against` names. The setting `download` is removed, because only the user may
    request a download.
    """
    if against is None and sampler is None:
        raise InputError("--against: missing; name the real images to compare with: a dataset, a folder or a zip file")
    recipe: Raw = sampler.card["recipe"] if sampler is not None else {}
    tables: Raw = {table: without_download(recipe[table]) for table in TABLES if table in recipe}
    defaults: Raw = {name: {} for name in DEFAULT_METRICS}
    return tables | {"metrics": tables.get("metrics") or defaults} | ({} if against is None else data_table(against))


def without_download(table: Any) -> Any:
    """Return a recipe table without the setting `download`. The setting is also removed from nested tables."""
    if not isinstance(table, dict):
        return table
    return {key: without_download(value) for key, value in table.items() if key != "download"}


def data_table(against: str) -> Raw:
    """Return a recipe table `data` for real images. `against` is the name of a data plugin, or a path to images."""
    names = Registry.installed().names("data")
    if against in names:
        return {"data": {"use": against}}
    if not Path(against).exists():
        raise InputError(f"--against {against}: no such folder, file or dataset; datasets: {', '.join(names)}")
    return {"data": {"use": "images", "path": str(Path(against).absolute())}}


def select_metrics(tables: Raw, names: Collection[str]) -> Raw:
    """Return the tables with only the metrics in `names`. If `names` is empty, return the tables unchanged.

    Each name is the name of a metric's table or of its plugin.
    """
    known = tables["metrics"]
    if not names or not isinstance(known, dict):
        return tables
    uses = {key: table.get("use", key) if isinstance(table, dict) else key for key, table in known.items()}
    selected: Raw = {}
    for name in names:
        matches = [key for key, use in uses.items() if name in (key, str(use).partition("@")[0])]
        selected |= {key: known[key] for key in matches} or {name: {}}
    return tables | {"metrics": selected}


def resolve(target: Path, tables: Raw, changes: Raw, trusted: bool) -> tuple[dict[str, Component], Evaluation]:
    """Parse the recipe tables of an evaluation. Return the plugins by recipe key, and the evaluation settings.

    The plugins are those of the dataset, the extractor and the metrics. They are not instantiated yet.

    Args:
        target: path of the evaluated run, generator file or images, for error messages.
        tables: recipe tables, with settings from the generator file and from the user.
        changes: the settings in `tables` that come from the user.
        trusted: True if settings from the generator file may import code and load files.
    """
    parser = RecipeParser(tables, target, Registry.installed())
    keys = ["data", "extractor", *(f"metrics.{name}" for name in parser.table("metrics"))]
    if not trusted:
        untrusted = [key for key in keys if "use" not in settings_from_user(changes, key)]
        refuse_untrusted(target, RecipeParser(tables, target, Registry([])).uses_at(untrusted))
    components = parser.components_at(keys)
    settings = parser.settings(Evaluation, parser.table("evaluation"), "evaluation")
    parser.raise_problems()
    assert settings is not None
    if not trusted:
        refuse_paths(target, components, changes)
    return components, settings


def settings_from_user(changes: Raw, key: str) -> set[str]:
    """Return the names of the settings, including `use`, that the user gave for the plugin with recipe key `key`."""
    table: Any = changes
    for name in key.split(".", 1):
        table = table.get(name, {}) if isinstance(table, dict) else {}
    return {"use"} if isinstance(table, str) else set(table)


def refuse_paths(target: Path, components: Mapping[str, Component], changes: Raw) -> None:
    """Raise InputError if a setting from a generator file could execute code, such as the path to a network file.

    Only numbers, booleans, None and default values are accepted from the generator file. All settings of datasets are
    accepted, because reading images executes no code: those of `data`, and settings of the type `DataTable`.
    """
    for key, component in components.items():
        for name, field in type(component.config).model_fields.items():
            value, default = getattr(component.config, name), field.get_default(call_default_factory=True)
            is_data = key == "data" or any(getattr(one, "func", None) is checked_table for one in field.metadata)
            safe = is_data or isinstance(value, bool | int | float | None) or value == default
            if not safe and name not in settings_from_user(changes, key):
                raise InputError(
                    f"{target} names {key}.{name} = {value}, which may run code; if you trust the file, add "
                    f"--trust, or name your own: {key}.{name}=..."
                )


# Functions that return the samples of the target


def sampler_of(target: Path, device: str, trust: bool) -> Sampler | None:
    """Return a sampler for the generator in a run or in a generator file. Return None if the target contains images."""
    file = target.suffix == ".safetensors"
    if is_address(target) or (target / "recipe.toml").exists() or (file and not is_prepared(target)):
        return Sampler.load(target, device, trust)
    if not target.exists():
        raise InputError(f"{target}: no such run, generator file or folder of images")
    return None


def is_prepared(path: Path) -> bool:
    """Return True if a file was written by `gankit prepare`."""
    try:
        read_prepared(path)
    except InputError:
        return False
    return True


def fake_samples(
    target: Path, sampler: Sampler | None, dataset: Dataset, real: Samples, settings: Evaluation
) -> tuple[Samples, dict[str, Fact]]:
    """Return the samples to evaluate, and facts about them for the protocol of the metrics.

    If `sampler` is given, it generates the samples. Otherwise, the samples are the images in `target`.
    """
    if sampler is not None:
        fake = generate(sampler, settings.count, settings.seed, real)
        facts = generator_facts(sampler, real, sampler.card.get("generator", "newest"))
    else:
        images, note = read_images(target, dataset.shape)
        fake = select(Rows(images), settings.count, settings.seed)
        facts = {"generator": "images", "generated resize": note or "none", "labels": DATA_LABELS}
    if fake.images.shape[1:] != real.images.shape[1:]:
        raise InputError(
            f"{target}: the images are {shape(fake)}, and the real ones are {shape(real)}; set data.resolution to "
            "the same size, or name other images with --against"
        )
    return fake, facts


def shape(samples: Samples) -> str:
    """Return the shape of one sample as text, such as `3x32x32`."""
    return "x".join(map(str, samples.images.shape[1:]))
