"""Checks of the values that hook implementations return."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor, nn

from gankit.errors import PluginError
from gankit.plugin.dataset import Dataset
from gankit.plugin.extra_network import ExtraNetwork
from gankit.plugin.extractor import Extractor
from gankit.plugin.slots import PLAYERS
from gankit.plugin.step import LossTerm, Step

LONGEST = 80
"""Maximum length of a value in an error message, in characters."""


class Expected(NamedTuple):
    """Values that implementations of one hook point may return."""

    description: str
    """Description of the values, for error messages."""

    allows: Callable[[Any], bool]
    or_none: bool = True
    """True if None is allowed too. With None, a plugin leaves the choice to other plugins or to gankit's default."""


def _instance(description: str, *types: type) -> Expected:
    return Expected(description, lambda value: isinstance(value, types))


def _list_of(description: str, item: type) -> Expected:
    def allows(value: Any) -> bool:
        return isinstance(value, Iterable) and not isinstance(value, str) and all(isinstance(v, item) for v in value)

    return Expected(description, allows)


def _is_step_order(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(player in PLAYERS for player in value)


def _is_images_and_condition(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], Tensor)
        and (value[1] is None or isinstance(value[1], Tensor))
    )


def _is_tensors_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, Tensor) for one in value.values())


def _is_masks_by_name(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(one, Tensor) for one in value.values())


def _is_numbers_by_name(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(one, Real) or (isinstance(one, Tensor) and one.dim() == 0) for one in value.values()
    )


def _is_facts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(one, str) or (isinstance(one, int | float) and math.isfinite(one)) for one in value.values()
    )


def _is_extra_networks(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(extra, ExtraNetwork) for extra in value.values())


def _is_terms_by_player(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == set(PLAYERS)


MODULE = _instance("an nn.Module", nn.Module)

EXPECTED: dict[str, Expected] = {
    "check_recipe": _list_of("a list of sentences", str),
    "load_data": _instance("a gankit.Dataset", Dataset),
    "normalization": MODULE,
    "build_generator": MODULE,
    "build_discriminator": MODULE,
    "wrap_network": MODULE,
    "extra_networks": Expected("a dict of gankit.ExtraNetwork by name", _is_extra_networks),
    "build_optimizer": _instance("a torch.optim.Optimizer", torch.optim.Optimizer),
    "lr_schedule": Expected("a function of the iteration", callable),
    "wrap_loss": Expected("a dict with the terms of each player", _is_terms_by_player),
    "loss_terms": _list_of("a list of gankit.LossTerm", LossTerm),
    "step_order": Expected('a list of "generator" and "discriminator"', _is_step_order),
    "sample_latent": _instance("a tensor z", Tensor),
    "sampling_conditions": _instance("a tensor", Tensor),
    "truncate_latent": _instance("a tensor z", Tensor),
    "sampling_latent": Expected("a tensor z", lambda value: isinstance(value, Tensor), or_none=False),
    "draw_step": _instance("a gankit.Step", Step),
    "discriminator_inputs": Expected("a tuple (images, condition)", _is_images_and_condition, or_none=False),
    "loss_weights": Expected("a dict of numbers or scalar tensors by name", _is_numbers_by_name),
    "backward": Expected("a dict with the value of each term, a tensor", _is_tensors_by_name),
    "sampling_generator": MODULE,
    "draw_samples": _instance("a PIL image", Image),
    "save_samples": _list_of("a list of paths", Path),
    "save_sample_file": _instance("a path", Path),
    "encode": _instance("a tensor z", Tensor),
    "find_parts": Expected("a dict of masks by name", _is_masks_by_name),
    "build_extractor": _instance("a gankit.Extractor", Extractor),
    "compute_metrics": _instance("a dict of numbers by name", Mapping),
    "generator_facts": Expected("a dict of finite numbers or texts by name", _is_facts),
    "log_values": Expected("a dict of numbers or scalar tensors by name", _is_numbers_by_name),
}
"""Values that implementations may return, by hook point. The return values of all other hook points are ignored."""


def check_value(value: Any, hook: str, place: str) -> None:
    """Check the value that an implementation of a hook point returns. `place` is the name of the implementation.

    Raises:
        PluginError: the hook point does not allow this value.
    """
    expected = EXPECTED.get(hook)
    if expected is None or (expected.allows(value) if value is not None else expected.or_none):
        return
    raise PluginError(f"{place} returns {describe(value)}; it must return {expected.description}")


def describe(value: Any) -> str:
    """Return a short text about a value for an error message, such as the shape of a tensor or the items of a tuple."""
    if value is None:
        return "nothing"
    if isinstance(value, tuple):
        return f"({', '.join(describe(v) for v in value)})"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"a {type(value).__name__}"
