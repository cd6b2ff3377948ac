"""Checks that every plugin must pass. If a check fails, the error message names the broken rule."""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.base import Plugin
from gankit.plugin.condition import ImageCondition
from gankit.plugin.dataset import Dataset
from gankit.plugin.hooks import Hooks, check_hooks, hooks_of
from gankit.plugin.slots import KINDS, PLAYERS, TRICK_KINDS
from gankit.recipe.toml import Raw, merge, with_folder
from gankit.runtime.device import accelerators
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler
from gankit.sampling.sampler import Sampler
from gankit.testing.harness import Parts, state_of, tiny_recipe, tiny_registry, tiny_run, train_iterations, weights_of
from gankit.testing.probe import Watch, counting_backward_passes, deterministic_algorithms, reseeded_steps
from gankit.testing.stand_in import STAND_IN, stand_in_accelerator
from gankit.training.assembly import assemble
from gankit.training.reconstruction import encode
from gankit.training.run import TrainingRun
from gankit.training.state import capture, restore

PRECISIONS = ("fp32", "bf16")

OTHER_RUNS: tuple[Raw, ...] = (
    {"train": {"accumulate": 2}},
    {"train": {"batch_size": 4}},
    {"data": {"channels": 1}},
    {"data": {"width": 12}},
    {"data": {"condition": "vector"}},
    {"data": {"condition": "tokens"}},
    {"data": {"condition": "image"}},
)
"""Changes to the recipe of the tiny run. With each change, the run must either train or raise an InputError."""


def devices() -> list[str]:
    """Return the devices to test on: `cpu`, and the type of the machine's accelerator, if any, such as `cuda`."""
    return ["cpu", *accelerators()]


def check_plugin(
    plugin_class: type[Plugin],
    settings: Mapping[str, Any] | None = None,
    changes: Raw | None = None,
    *,
    classes: Iterable[int] = (0, 2),
    affects: bool = True,
    stand_in: bool = True,
    unreached: Iterable[str] = (),
    linear_output: bool = False,
) -> None:
    """Run all checks for the kind of the plugin: with and without labels, in fp32 and bf16, on CPU and GPU.

    Some checks also run on the stand-in accelerator, a simulated device. It raises an error for tensors on the wrong
    device, and needs no GPU.

    Args:
        plugin_class: Python class of the plugin.
        settings: settings of the plugin, if the default settings do not work in a tiny run.
        changes: tables that are merged into the recipe of the tiny run. The tables may select other plugins that
            this plugin needs, for example by path: `{"discriminator": {"use": "./critic.py:Critic"}}`. A relative path
            refers to the folder of this plugin's file.
        classes: numbers of image classes in the test runs. Use `(0,)` for a plugin that does not accept labels.
        affects: True if the plugin must change the training. False for a plugin that must not change it, such as a
            logger.
        stand_in: False for a plugin with operators that the stand-in accelerator cannot run.
        unreached: prefixes of the names of parameters that get no gradient in the first four iterations. Example:
            `"levels.3."` in a network that grows during training.
        linear_output: True for a generator with a linear last layer, whose output may be outside [-1, 1].
    """
    assert not isinstance(unreached, str), "unreached is a list of names, such as ['levels.3.']"
    unreached = tuple(unreached)
    check_documentation(plugin_class)
    if plugin_class.kind == "command":
        check_command(plugin_class, settings)
        return
    parts: Parts = {plugin_class: dict(settings or {})}
    changes = with_folder(dict(changes or {}), folder_of(plugin_class))
    if plugin_class.kind in ("metric", "extractor"):
        for count in classes:
            check_metric(parts, merge({"data": {"classes": count}}, changes))
        return
    # A dataset plugin sets the number of image classes itself, so the checks do not change this number.
    is_data = plugin_class.kind == "data"
    tables: list[Raw] = [{}] if is_data else [{"data": {"classes": count}} for count in classes]
    # `check_repeat` compares two runs. Call it first, because earlier runs might leave state that hides a difference.
    check_repeat(parts, merge(tables[-1], changes))
    for table in tables:
        class_changes = merge(table, changes)
        # Skip `check_effect` for data plugins. It would replace the dataset by the tiny dataset, and other plugins in
        # `changes` may not accept the tiny dataset.
        if not is_data:
            check_effect(parts, class_changes, affects=affects)
        for device, precision in product(devices(), PRECISIONS):
            train = {"train": {"device": device, "precision": precision, "deterministic": True}}
            with nullcontext() if device == "cpu" else deterministic_algorithms():
                check_training(parts, merge(class_changes, train), unreached=unreached, linear_output=linear_output)
                # A plugin's state depends on the classes or on the precision, hardly on both together. The last
                # table in fp32 has the longer check below.
                if device != "cpu" or (table is tables[-1]) == (precision == "bf16"):
                    check_resume(parts, merge(class_changes, train))
    usual = merge(tables[-1], changes)
    check_resume(parts, usual, before=3, after=8)
    check_samples(parts, usual)
    for other in OTHER_RUNS:
        if not (is_data and "data" in other):
            check_supported_or_refused(parts, merge(usual, other))
    if is_data:
        check_dataset(tiny_run(parts, usual).dataset)
    if stand_in:
        with stand_in_accelerator():
            changes = merge(usual, {"train": {"device": STAND_IN}})
            check_training(parts, changes, unreached=unreached, linear_output=linear_output)


def folder_of(plugin_class: type[Plugin]) -> Path:
    """Return the folder of the file that defines a plugin. For a class from a notebook, return the current folder."""
    file = getattr(sys.modules.get(plugin_class.__module__), "__file__", None)
    return Path(file).parent if file else Path()


def check_documentation(plugin_class: type[Plugin]) -> None:
    """Check the name, kind, hooks and docstring of a plugin, and that all its settings have descriptions."""
    assert inspect.isclass(plugin_class), f"{plugin_class!r} is not a class"
    owner = plugin_class.__name__
    assert issubclass(plugin_class, Plugin), f"{owner} is not a subclass of gankit.Plugin"
    name = getattr(plugin_class, "name", None)
    assert isinstance(name, str), f'{owner} has no name; write name = "..." in the class'
    # A command is called by its name, and the names of commands have hyphens, such as `list-plugins`.
    parts = name.replace("-", "_") if plugin_class.kind == "command" else name
    assert re.fullmatch(r"[a-z][a-z0-9_]*", parts), f"{owner}.name is {name!r}; it must be snake_case"
    assert plugin_class.kind in KINDS, f"{owner}.kind is {plugin_class.kind!r}; the kinds are {', '.join(KINDS)}"
    check_hooks(plugin_class, owner)
    assert hooks_of(plugin_class), f"{owner} implements no hook point, so it has no effect"
    text = inspect.cleandoc(plugin_class.__doc__ or "")
    assert text, f"{owner} has no docstring; `gankit describe` shows it"
    first = text.splitlines()[0]
    assert first.endswith((".", "?")), f"{owner}: the first line of the docstring must be a sentence: {first!r}"
    assert "Source:" in text, f"{owner}: the docstring has no `Source:` (author, year, equation)"
    for setting, field in plugin_class.Config.model_fields.items():
        assert field.description, f"{owner}.Config.{setting} has no description; write Field(..., description='...')"
    unknown = plugin_class.sampling_ranges.keys() - plugin_class.Config.model_fields.keys()
    assert not unknown, f"{owner}.sampling_ranges: there are no settings {', '.join(sorted(unknown))} in Config"


def check_training(
    parts: Parts, changes: Raw | None = None, *, unreached: Iterable[str] = (), linear_output: bool = False
) -> TrainingRun:
    """Train a tiny run with the plugins for four iterations, check the run, and return it.

    Losses and weights must be finite, all trainable parameters must get gradients, and the weights of both networks
    must change. Plugins must not call `backward()` or an optimiser's `step()`, and must not change real images in
    place.

    `unreached` contains prefixes of the names of parameters that may have no gradient. With `linear_output`, fake
    images may have values outside [-1, 1].
    """
    allowed = tuple(unreached)
    run = tiny_run(parts, changes)
    before = weights_of(run)
    watch = Watch(run)
    with counting_backward_passes() as backward_passes:
        train_iterations(run, 4)
    steps = sum(run.step_counts.values())
    if run.backward is None:
        expected = steps * run.recipe.train.accumulate
        assert len(backward_passes) == expected, (
            f"backward() was called {len(backward_passes)} times in {steps} steps; the core calls it once for the sum "
            "of all loss terms: return a loss term, or use torch.autograd.grad for a penalty"
        )
    assert not watch.images_modified, "real images are changed in place, but other plugins use them too; change a copy"
    for player, weights_before, weights in zip(PLAYERS, before, weights_of(run), strict=True):
        assert watch.has_gradient[player], f"no gradient reaches the {player}"
        missing = ", ".join(sorted(n for n in watch.without_gradient[player] if not n.startswith(allowed)))
        assert not missing, f"no gradient reaches the {player}'s {missing}"
        assert weights != weights_before, f"the weights of the {player} do not change in 4 iterations"
        assert watch.optimizer_steps[player] == run.step_counts[player], (
            f"the {player}'s optimiser made {watch.optimizer_steps[player]} steps in {run.step_counts[player]} steps "
            "of training; the core makes exactly one in each"
        )
        for name, weight in run.networks[player].named_parameters():
            assert torch.isfinite(weight).all(), f"the {player}'s {name} is NaN or infinite"
    assert linear_output or watch.largest_pixel <= 1 + 1e-2, (
        f"G returns values up to {watch.largest_pixel:g}; images are in [-1, 1]"
    )
    return run


def check_supported_or_refused(parts: Parts, changes: Raw) -> None:
    """Check that a tiny run either trains one iteration or raises an InputError before training."""
    try:
        run = tiny_run(parts, changes)
    except InputError:
        return
    train_iterations(run)


def check_resume(parts: Parts, changes: Raw | None = None, *, before: int = 1, after: int = 2) -> None:
    """Check that a run resumed from a checkpoint ends in the same state, byte for byte, as an uninterrupted run.

    `parts` and `changes` are the same arguments as for `tiny_run`.

    Args:
        before: number of iterations before the checkpoint.
        after: number of iterations after the checkpoint. If the plugin acts only at every k-th step, `after` must be at
            least k, and `before` must not be a multiple of k.
    """
    run = train_iterations(tiny_run(parts, changes), before)
    state_at_checkpoint = state_of(run)
    checkpoint = copy_of_checkpoint(run)
    state_at_end = state_of(train_iterations(run, after))
    resumed = assemble(tiny_recipe(parts, changes))
    resumed.load_data()
    restore(resumed, *checkpoint)
    resumed.start()
    assert_same_state(state_of(resumed), state_at_checkpoint, "the restored state differs from the saved one")
    train_iterations(resumed, after)
    assert_same_state(state_of(resumed), state_at_end, "a resumed run ends with another result than one that continued")


def copy_of_checkpoint(run: TrainingRun) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return the content of a checkpoint of the run: copies of the tensors, by file name, and the JSON values."""
    tensors, values = capture(run)
    copies = {file: {name: tensor.clone() for name, tensor in content.items()} for file, content in tensors.items()}
    return copies, json.loads(json.dumps(values))


def assert_same_state(state: dict[str, bytes], expected: dict[str, bytes], message: str) -> None:
    """Check that two states of a run are equal. The error message names the checkpoint files that differ."""
    differing = [name for name in expected if state.get(name) != expected[name]]
    hint = "state_dict must return all state of the plugin, and load_state_dict must restore it"
    assert not differing, f"{message}: {', '.join(differing)}; {hint}"


def check_repeat(parts: Parts, changes: Raw | None = None) -> None:
    """Check that two runs of the same recipe in one process end in the same state."""
    first, second = (state_of(train_iterations(tiny_run(parts, changes), 3)) for _ in range(2))
    assert first == second, (
        "a second run of the same recipe has another result; does the plugin keep state outside its instance?"
    )


def check_samples(parts: Parts, changes: Raw | None = None) -> None:
    """Check that a saved generator gives the same images after loading.

    Also check that sample grids, metrics and the hook `encode` work.
    """
    run = train_iterations(tiny_run(parts, changes), 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "generator.safetensors"
        save_generator(run, path)
        loaded = Sampler.load(path, run.device.type, trust=True, registry=tiny_registry(parts))
    # A generator file contains no source images, so use the source images of the run.
    sources = run.condition_examples if isinstance(loaded.condition, ImageCondition) else None
    images, loaded_images = (sampler.sample(4, sources=sources)[0] for sampler in (Sampler.of_run(run), loaded))
    assert torch.equal(images, loaded_images), "the saved generator draws other images than the generator of the run"
    GridSampler(run).draw()
    with TemporaryDirectory() as folder:
        condition = loaded.conditions(2, sources=sources)
        loaded.save(loaded.latent(2, condition, 0), condition, Path(folder))
        assert any(Path(folder).iterdir()), "`save_samples` writes no file into the folder"
        for suffix in loaded.file_suffixes[:1]:  # further suffixes may need optional packages
            loaded.save_file(loaded.latent(2, condition, 0), condition, Path(folder) / f"all{suffix}")
    if run.hooks.of("encode"):
        encode(run, run.draw_real().images)
    if run.metrics:
        check_metric_values(Evaluator(run).row()["metrics"])
    run.hooks.event("on_stop")(run)


def check_dataset(dataset: Dataset) -> None:
    """Check that a dataset's images and conditions match its description.

    If the dataset has the function `stream`, also check that `stream` and `load` return the same data.
    """
    rows = dataset.read()
    if dataset.stream is None:
        return
    chunks = list(dataset.read_chunks())
    streamed = torch.cat([chunk.images for chunk in chunks])
    assert torch.equal(streamed, rows.images), "stream yields other images than load, or another order"
    if rows.condition is not None:
        conditions = torch.cat([chunk.condition for chunk in chunks if chunk.condition is not None])
        assert torch.equal(conditions, rows.condition), "stream yields another condition than load"
    for name, field in rows.fields.items():
        assert torch.equal(torch.cat([chunk.fields[name] for chunk in chunks]), field), f"stream: other {name}"


def check_metric(parts: Parts, changes: Raw | None = None) -> dict[str, float]:
    """Check that metrics are finite and repeatable, and do not change the run. Return the values of the metrics.

    A metric plugin is tested with the pixels as features. An extractor plugin is tested with one simple metric.
    """
    table = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 16}}
    kinds = {plugin.kind for plugin in parts if not isinstance(plugin, str)}
    if "metric" in kinds:
        table.pop("metrics")
    if "extractor" in kinds:
        table.pop("extractor")
    run = train_iterations(tiny_run(parts, merge(table, changes or {})), 2)
    before = state_of(run)
    rows = [Evaluator(run).row() for _ in range(2)]
    assert state_of(run) == before, "computing metrics changes the networks or the random numbers of the run"
    assert rows[0]["metrics"] == rows[1]["metrics"], "a second computation for the same generator gives other metrics"
    assert "extractor" in rows[0]["protocol"], "Extractor.facts must name the extractor"
    check_metric_values(rows[0]["metrics"])
    return rows[0]["metrics"]


def check_metric_values(metrics: Mapping[str, float]) -> None:
    """Check that the values of all metrics are finite floats."""
    for name, value in metrics.items():
        assert isinstance(value, float), f"the metric {name!r} is {value!r}; it must be a float"
        assert math.isfinite(value), f"the metric {name!r} is {value}"


def check_command(plugin_class: type[Plugin], settings: Mapping[str, Any] | None = None) -> None:
    """Check that a plugin of kind `command` adds exactly one command, with the name of the plugin."""
    group = click.Group()
    plugin = plugin_class(plugin_class.Config(**(settings or {})))
    Hooks({plugin_class.name: plugin}).event("register_commands")(group)
    assert list(group.commands) == [plugin_class.name], (
        f"it adds {', '.join(group.commands) or 'no command'}; it must add a command with its name, {plugin_class.name}"
    )


def check_effect(parts: Parts, changes: Raw | None = None, *, affects: bool = True) -> None:
    """Check that the plugins change the trained weights. With `affects=False`, check that the weights do not change.

    A plugin that draws random numbers also changes all random numbers that are drawn later. This change alone
    does not count as an effect, but it makes a check with `affects=False` fail.
    """

    def trained_weights(active: Parts) -> tuple[bytes, bytes]:
        run = tiny_run(active, changes)
        return weights_of(train_iterations(reseeded_steps(run) if affects else run, 4))

    changed = trained_weights(parts) != trained_weights(dict.fromkeys(parts))
    names = ", ".join(plugin if isinstance(plugin, str) else plugin.name for plugin in parts)
    if affects:
        assert changed, f"{names}: no effect on the weights; check the hook point and the settings"
    else:
        assert not changed, f"{names}: the weights change, but affects=False declares that they do not"


def check_order(parts: Parts, changes: Raw | None = None, *, matters: bool = True) -> None:
    """Check that the order of the tricks changes the trained weights.

    With `matters=False`, check that the order does not change the weights.

    Example for `LouderFakes`, a trick under test:

        check_order({LouderFakes: {}, "instance_noise": {"sigma": 0.1}})
    """
    slots = [plugin.name for plugin in parts if not isinstance(plugin, str) and plugin.kind not in TRICK_KINDS]
    assert not slots, f"{', '.join(slots)}: only plugins in [tricks] have an order"
    reverse = dict(reversed(list(parts.items())))
    result, reverse_result = (weights_of(train_iterations(tiny_run(order, changes), 4)) for order in (parts, reverse))
    differ = result != reverse_result
    assert differ is matters, f"the two orders give {'different results' if differ else 'the same result'}"
