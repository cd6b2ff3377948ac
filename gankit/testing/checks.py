"""What every plugin must hold. A check that fails says which promise is broken, and how."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.evaluation.evaluator import Evaluator
from gankit.plugin.base import Plugin
from gankit.plugin.dataset import Dataset
from gankit.plugin.hooks import Hooks, check_hooks, hooks_of
from gankit.plugin.slots import KINDS, PLAYERS
from gankit.recipe.toml import Raw, merge
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler
from gankit.sampling.sampler import Sampler
from gankit.testing.harness import Parts, state_of, tiny_recipe, tiny_registry, tiny_run, train_iterations, weights_of
from gankit.testing.probe import Watch, counting_backward_passes, steady
from gankit.training.assembly import assemble
from gankit.training.run import TrainingRun
from gankit.training.state import capture, restore

PRECISIONS = ("fp32", "bf16")

OTHER_SHAPES: tuple[Raw, ...] = (
    {"train": {"accumulate": 2}},
    {"train": {"batch_size": 4}},
    {"data": {"channels": 1}},
)
"""Games of another kind than the usual, which a plugin either plays too or refuses in a sentence."""


def devices() -> list[str]:
    """The devices to test on: `cpu`, and `cuda` where there is one."""
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def check_plugin(
    plugin_class: type[Plugin],
    settings: Mapping[str, Any] | None = None,
    changes: Raw | None = None,
    *,
    classes: Iterable[int] = (0, 2),
    affects: bool = True,
) -> None:
    """All the checks below, without and with classes, in fp32 and bf16, on every device that is there.

    Args:
        plugin_class: the plugin.
        settings: for the recipe, where the defaults do not suit a tiny game.
        changes: tables to lay over the rest of the recipe.
        classes: the numbers of classes to try; `(0,)` for a plugin that refuses labels.
        affects: whether it is to change what the networks learn; a plugin that only watches does not.
    """
    check_documentation(plugin_class)
    if plugin_class.kind == "command":
        check_command(plugin_class, settings)
        return
    parts: Parts = {plugin_class: dict(settings or {})}
    if plugin_class.kind in ("metric", "extractor"):
        for count in classes:
            check_metric(parts, merge({"data": {"classes": count}}, changes or {}))
        return
    # A dataset has the classes that it has.
    own_data = plugin_class.kind == "data"
    tables: list[Raw] = [{}] if own_data else [{"data": {"classes": count}} for count in classes]
    # First of all: what is kept outside the game is there from the first one on.
    check_repeat(parts, merge(tables[-1], changes or {}))
    for table in tables:
        of_classes = merge(table, changes or {})
        check_effect(parts, of_classes, affects=affects)
        for device in devices():
            for precision in PRECISIONS:
                train = {"train": {"device": device, "precision": precision, "deterministic": True}}
                check_play(parts, merge(of_classes, train))
                check_resume(parts, merge(of_classes, train))
    usual = merge(tables[-1], changes or {})
    check_resume(parts, usual, before=3, after=8)
    check_samples(parts, usual)
    for shape in OTHER_SHAPES:
        if not (own_data and "data" in shape):
            check_shape(parts, merge(usual, shape))
    if own_data:
        check_dataset(tiny_run(parts, usual).dataset)


def check_documentation(plugin_class: type[Plugin]) -> None:
    """The class has a name, hooks that fit, what it does and its source in a docstring, and every setting described."""
    assert inspect.isclass(plugin_class), f"{plugin_class!r} is no class"
    who = plugin_class.__name__
    assert issubclass(plugin_class, Plugin), f"{who} is not a subclass of gankit.Plugin"
    name = getattr(plugin_class, "name", None)
    assert isinstance(name, str), f'{who} has no name: write name = "..." in the class'
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name), f"{who}.name is {name!r}, no snake_case"
    assert plugin_class.kind in KINDS, f"{who}.kind is {plugin_class.kind!r}; there are {', '.join(KINDS)}"
    check_hooks(plugin_class, who)
    assert hooks_of(plugin_class), f"{who} implements no hook point, so it does nothing"
    text = inspect.cleandoc(plugin_class.__doc__ or "")
    assert text, f"{who} has no docstring, which `gankit describe` shows"
    first = text.splitlines()[0]
    assert first.endswith((".", "?")), f"{who}: the docstring's first line is to be a sentence of its own: {first!r}"
    assert "Source:" in text, f"{who}: the docstring does not say `Source:` (author, year, equation)"
    for setting, field in plugin_class.Config.model_fields.items():
        assert field.description, f"{who}.Config.{setting} has no description: Field(..., description='...')"


def check_play(parts: Parts, changes: Raw | None = None) -> TrainingRun:
    """Four iterations leave finite losses and weights; gradients reach all that is to learn, and all of it has learnt.

    Nobody else computes gradients, steps an optimiser or writes into the images that others are shown. Gives back the
    game that was played.
    """
    run = tiny_run(parts, changes)
    before = weights_of(run)
    watch = Watch(run)
    with counting_backward_passes() as backward_passes:
        train_iterations(run, 4)
    turns = sum(run.step_counts.values())
    if run.backward is None:
        passes = turns * run.recipe.train.accumulate
        assert len(backward_passes) == passes, (
            f"backward() was called {len(backward_passes)} times in {turns} turns; terms are added up and one backward "
            "pass is made for them: a plugin gives terms, or takes torch.autograd.grad for a penalty"
        )
    assert not watch.written_into, "real images are changed in place, which others look at too: give changed copies"
    for player, weights_before, weights in zip(PLAYERS, before, weights_of(run), strict=True):
        assert watch.reached[player], f"no gradient reaches the {player}"
        without = ", ".join(sorted(watch.untouched[player]))
        assert not without, f"no gradient reaches the {player}'s {without}"
        assert weights != weights_before, f"the {player} has learnt nothing in 4 iterations"
        assert watch.steps[player] == run.step_counts[player], (
            f"the {player}'s optimiser took {watch.steps[player]} steps in {run.step_counts[player]} turns; that is "
            "the core's to do, once a turn"
        )
        for name, weight in run.networks[player].named_parameters():
            assert torch.isfinite(weight).all(), f"the {player}'s {name} is no longer finite"
    assert watch.furthest <= 1 + 1e-2, f"G draws values up to {watch.furthest:g}; images lie in [-1, 1]"
    return run


def check_shape(parts: Parts, changes: Raw) -> None:
    """One iteration of a game of another shape is played, or refused in a sentence before it begins."""
    try:
        run = tiny_run(parts, changes)
    except InputError:
        return
    train_iterations(run)


def check_resume(parts: Parts, changes: Raw | None = None, *, before: int = 1, after: int = 2) -> None:
    """A game restored from what was saved after some iterations ends with the same bytes as it would have.

    Args:
        parts, changes: as of `tiny_run`.
        before, after: iterations. What acts every k-th turn only is found out when `after` is k or more, and `before`
            no multiple of k.
    """
    run = train_iterations(tiny_run(parts, changes), before)
    at_first = state_of(run)
    saved = saved_by(run)
    at_last = state_of(train_iterations(run, after))
    again = assemble(tiny_recipe(parts, changes))
    again.load_data()
    restore(again, *saved)
    again.start()
    assert_same_state(state_of(again), at_first, "what is restored is not what was saved")
    assert_same_state(
        state_of(train_iterations(again, after)), at_last, "a restored game goes another way than the one that went on"
    )


def saved_by(run: TrainingRun) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """What a checkpoint would hold: tensors by file, and plain values as they come back from JSON."""
    tensors, plain = capture(run)
    copies = {file: {name: tensor.clone() for name, tensor in of.items()} for file, of in tensors.items()}
    return copies, json.loads(json.dumps(plain))


def assert_same_state(ours: dict[str, bytes], theirs: dict[str, bytes], message: str) -> None:
    """Names the files of a checkpoint that differ, if any do."""
    differing = [name for name in theirs if ours.get(name) != theirs[name]]
    hint = "state_dict must give all that the plugin needs, and load_state_dict take it back"
    assert not differing, f"{message}: {', '.join(differing)}; {hint}"


def check_repeat(parts: Parts, changes: Raw | None = None) -> None:
    """The same recipe played twice in one process ends alike: nothing is kept outside the game."""
    one, other = (state_of(train_iterations(tiny_run(parts, changes), 3)) for _ in range(2))
    assert one == other, (
        "the same recipe ends otherwise the second time; what is kept outside of the plugin's instance?"
    )


def check_samples(parts: Parts, changes: Raw | None = None) -> None:
    """A generator that was saved draws the images that the game's own does; grids are drawn, measures are taken."""
    run = train_iterations(tiny_run(parts, changes), 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "generator.safetensors"
        save_generator(run, path)
        loaded = Sampler.load(path, run.device.type, registry=tiny_registry(parts))
    ours = Sampler(run.sampled_generator(), run.hooks, run.spec, run.device)
    drawn, again = (sampler.sample(4)[0] for sampler in (ours, loaded))
    assert torch.equal(drawn, again), "a saved generator draws other images than the game's own"
    GridSampler(run).draw()
    run.hooks.event("on_stop")(run)


def check_dataset(dataset: Dataset) -> None:
    """Images and labels are of the shapes and types that were promised, and a stream of them gives the same."""
    images, labels = dataset.load()
    wanted = (dataset.channels, dataset.resolution, dataset.resolution)
    assert images.dim() == 4, f"images of shape {tuple(images.shape)}; (N, {wanted}) is promised"
    assert images.shape[1:] == wanted, f"images of shape {tuple(images.shape)}; (N, {wanted}) is promised"
    if images.dtype != torch.uint8:
        assert images.is_floating_point(), f"images are {images.dtype}; uint8 is wanted, or floating point in [-1, 1]"
        assert images.abs().max() <= 1, f"values up to {images.abs().max():g}; floating point lies in [-1, 1]"
    assert (labels is not None) == bool(dataset.class_names), "labels and class_names go together"
    if labels is not None:
        assert labels.dtype == torch.int64, f"labels are {labels.dtype}; int64 is wanted"
        assert labels.shape == images.shape[:1], f"labels of shape {tuple(labels.shape)} for {len(images)} images"
        assert labels.min() >= 0, f"a label is {labels.min()}"
        assert labels.max() < len(dataset.class_names), f"a label is {labels.max()}; there are {dataset.class_names}"
    if dataset.stream is not None:
        chunks = list(dataset.stream())
        streamed = torch.cat([chunk for chunk, _ in chunks])
        assert torch.equal(streamed, images), "stream gives other images than load, or another order"
        if labels is not None:
            of_chunks = [some for _, some in chunks if some is not None]
            assert torch.equal(torch.cat(of_chunks), labels), "stream gives other labels than load"


def check_metric(parts: Parts, changes: Raw | None = None) -> dict[str, float]:
    """Measures of a tiny game are finite numbers, the same each time, and leave no trace in what is learnt.

    For a measure, seen through an extractor of pixels; for an extractor, through which one measure looks. Gives back
    what was measured.
    """
    few = {"extractor": {"use": "tiny"}, "metrics": {"tiny": {}}, "evaluation": {"count": 16}}
    of_kind = {plugin.kind for plugin in parts if not isinstance(plugin, str)}
    if "metric" in of_kind:
        few.pop("metrics")
    if "extractor" in of_kind:
        few.pop("extractor")
    run = train_iterations(tiny_run(parts, merge(few, changes or {})), 2)
    before = state_of(run)
    rows = [Evaluator(run).row() for _ in range(2)]
    assert state_of(run) == before, "to measure changes what is learnt, or the random numbers of the run"
    assert rows[0]["metrics"] == rows[1]["metrics"], "the same generator is given other numbers the second time"
    assert "extractor" in rows[0]["protocol"], "Extractor.facts are to name the extractor"
    for name, value in rows[0]["metrics"].items():
        assert isinstance(value, float), f"measure gives {value!r} for {name!r}; a float is wanted"
        assert math.isfinite(value), f"{name} is {value}"
    return rows[0]["metrics"]


def check_command(plugin_class: type[Plugin], settings: Mapping[str, Any] | None = None) -> None:
    """A plugin of kind `command` adds a verb of its own name."""
    verbs = click.Group()
    plugin = plugin_class(plugin_class.Config(**(settings or {})))
    Hooks({plugin_class.name: plugin}).event("register_commands")(verbs)
    assert list(verbs.commands) == [plugin_class.name], (
        f"it adds {', '.join(verbs.commands) or 'no verb'}; the verb bears the plugin's name, {plugin_class.name}"
    )


def check_effect(parts: Parts, changes: Raw | None = None, *, affects: bool = True) -> None:
    """With these plugins the networks learn something else than without them, or, `affects=False`, the very same.

    That a plugin draws random numbers, and so shifts everybody's, is no effect; but it is none that is allowed to one
    that only watches.
    """

    def learnt(of: Parts) -> tuple[bytes, bytes]:
        run = tiny_run(of, changes)
        return weights_of(train_iterations(steady(run) if affects else run, 4))

    changed = learnt(parts) != learnt(dict.fromkeys(parts))
    names = ", ".join(plugin if isinstance(plugin, str) else plugin.name for plugin in parts)
    if affects:
        assert changed, f"{names}: nothing that is learnt changes; is the hook the right one, and do the settings act?"
    else:
        assert not changed, f"{names}: what is learnt changes, though it is only to watch"


def check_order(parts: Parts, changes: Raw | None = None, *, matters: bool = True) -> None:
    """Whether tricks do the same in the order given and in the reverse order.

    check_order({LouderFakes: {}, "instance_noise": {"sigma": 0.1}})
    """
    slots = [plugin.name for plugin in parts if not isinstance(plugin, str) and plugin.kind != "trick"]
    assert not slots, f"{', '.join(slots)}: only tricks have an order; what fills a slot has its place"
    backwards = dict(reversed(list(parts.items())))
    one, other = (weights_of(train_iterations(tiny_run(order, changes), 4)) for order in (parts, backwards))
    differ = one != other
    assert differ is matters, "the two orders give different results" if differ else "both orders give the same"
