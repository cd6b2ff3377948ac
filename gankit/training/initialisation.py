"""Start of a new run from trained networks, which the recipe's table `[init]` names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from gankit.errors import InputError, recipe_errors
from gankit.formatting import first_names, plural
from gankit.storage.trained_network import Origin, read_trained_network
from gankit.suggest import nearest
from gankit.training.run import TrainingRun
from gankit.training.weight_matching import COUNTERS, Match, load, match, prefix_table, renamed

SHOWN = 8
"""Maximum number of tensors of one network that a message lists by name."""


def initialise(run: TrainingRun) -> list[str]:
    """Load the weights of the sources in `[init]` into the networks of a new run. Return messages about the result.

    Call this function before `run.start`, so that the plugins' copies of the networks have these weights. With several
    ranks, only the first rank reads the sources. The other ranks get the weights before the first iteration.

    Raises:
        RecipeError: a network does not exist, or a source cannot be read or does not fit.
    """
    if run.ranks.rank:
        return []
    messages: list[str] = []
    init, source = run.recipe.init, run.recipe.source
    for name in init.map:
        with recipe_errors(source, f"init.map.{name}"):
            if name not in init.sources:
                raise InputError(f"there is no init.{name}; {nearest(name, init.sources)}add it, or remove the table")
    for name, path in init.sources.items():
        with recipe_errors(source, f"init.{name}"):
            if name not in run.saved_networks:
                raise InputError(
                    f"the run has no network {name!r}; {nearest(name, run.saved_networks)}there are "
                    f"{', '.join(run.saved_networks)}"
                )
            tensors, origin = read_trained_network(path, name)
        with recipe_errors(source, f"init.map.{name}"):
            given = renamed(tensors, init.map.get(name, {}))
        matches = match(run.networks[name], given, run.spec.channels)
        with recipe_errors(source, f"init.{name}"):
            _check_any(name, origin, matches, tensors)
            _check_frozen(name, run.networks[name], origin, matches)
        load(run.networks[name], matches)
        run.origins[name] = origin
        own = {m.name for m in matches}
        unused = [n for n in given if n not in own]
        run.initial_weights[name] = {"origin": origin, "tensors": list(map(_row, matches)), "unused": unused}
        messages += _messages(name, origin, matches, unused)
    return messages


def changed_origins(before: dict[str, Any], run: TrainingRun) -> list[str]:
    """Return a message for each source that has changed since the environment record `before` was written."""
    earlier: dict[str, Origin] = before.get("origins", {})
    return [
        f"init.{name}: {origin['path']} differs from the file of the first start; the result differs too"
        for name, origin in run.origins.items()
        if name in earlier and earlier[name]["sha256"] != origin["sha256"]
    ]


def _check_any(name: str, origin: Origin, matches: list[Match], tensors: Mapping[str, Tensor]) -> None:
    """Check that at least one weight with two or more dimensions is copied, not only biases or statistics."""
    if any(m.value is not None and len(m.shape) > 1 for m in matches):
        return
    if misfits := [_shapes(m) for m in matches if m.source_shape not in (None, m.shape)]:
        raise InputError(
            f"no weight of {origin['path']} fits: the shapes differ, in the network and (in the source): "
            f"{first_names(misfits, 3)}; give another file, or the same settings as in the source"
        )
    given, own = list(tensors), [m.name for m in matches]
    table = ", ".join(f'"{old}" = "{new}"' for old, new in prefix_table(given, own).items())
    example = f": init.map.{name}='{{{table}}}'" if table else f" (init.map.{name})"
    raise InputError(
        f"no weight of {origin['path']} fits: it has {first_names(given, 3)}, and the network has "
        f"{first_names(own, 3)}; give another file, or a table of names{example}"
    )


def _check_frozen(name: str, network: nn.Module, origin: Origin, matches: list[Match]) -> None:
    """Check that all frozen parameters are copied, because they would otherwise stay random."""
    frozen = {n for n, p in network.named_parameters(remove_duplicate=False) if not p.requires_grad}
    if random := [_shapes(m) for m in matches if m.value is None and m.name in frozen]:
        raise InputError(
            f"the {name} has frozen parameters that {origin['path']} does not contain with the same shape: "
            f"{first_names(random, 3)}. They would stay random; freeze fewer layers, or give another source"
        )


def _row(one: Match) -> dict[str, Any]:
    """Return the entry of `init.json` for one tensor."""
    return {
        "name": one.name,
        "shape": _shape(one.shape),
        "source_shape": None if one.source_shape is None else _shape(one.source_shape),
        "taken": one.value is not None,
        "reason": one.reason,
    }


def _messages(name: str, origin: Origin, matches: list[Match], unused: list[str]) -> list[str]:
    """Return a summary of the tensors that were copied into a network, and a message for each reason not to copy."""
    taken = [m for m in matches if m.value is not None]
    share, whole = (sum(math.prod(m.shape) for m in group) for group in (taken, matches))
    iteration = "" if origin["iteration"] is None else f", iteration {origin['iteration']}"
    count = f"{len(taken)} of {plural(len(matches), 'tensor')}, {share / whole:.0%} of the weights"
    messages = [f"init.{name}: {count}, from {origin['path']}{iteration}"]
    for reason in dict.fromkeys(m.reason for m in matches if m.reason):
        rows = [m for m in matches if m.reason == reason]
        treatment = "initial values kept" if rows[0].value is None else "converted"
        names = plural(len(rows), "tensor") if reason == COUNTERS else first_names([_shapes(m) for m in rows], SHOWN)
        messages.append(f"  {treatment}, {reason}: {names}")
    if unused:
        messages.append(f"  unused: {first_names(unused, SHOWN)}")
    return messages


def _shapes(one: Match) -> str:
    """Return the name and the shape of a tensor, as text.

    If the shape in the trained network differs, it follows in parentheses: `head.weight 10x64 (5x64)`.
    """
    own = f"{one.name} {_shape(one.shape)}"
    return own if one.source_shape in (None, one.shape) else f"{own} ({_shape(one.source_shape)})"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
