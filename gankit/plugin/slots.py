"""Players, kinds of plugin, and the places of a recipe that plugins fill. Imports neither torch nor pydantic."""

from __future__ import annotations

from typing import Literal, get_args

Player = Literal["generator", "discriminator"]
PLAYERS: tuple[Player, ...] = get_args(Player)

Kind = Literal[
    "data",
    "latent",
    "generator",
    "discriminator",
    "loss",
    "normalization",
    "optimizer",
    "lr_schedule",
    "penalty",
    "augmentation",
    "trick",
    "logger",
    "extractor",
    "metric",
    "command",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

SINGLE_SLOTS: tuple[Kind, ...] = ("data", "latent", "generator", "discriminator", "loss", "lr_schedule")
"""Slots that one plugin fills for the whole run: `[generator]`."""

PLAYER_SLOTS: tuple[Kind, ...] = ("normalization", "optimizer")
"""Slots that one plugin fills for each player: `[optimizer.generator]`."""

DEFAULT_USE: dict[str, str] = {
    "latent": "normal",
    "loss": "non_saturating",
    "lr_schedule": "constant",
    "normalization": "none",
    "optimizer": "adam",
    "extractor": "classifier",
}
"""Names of the plugins that fill the slots that a recipe leaves out. Every other slot must be filled."""

TRICK_KINDS: tuple[Kind, ...] = ("trick", "penalty", "augmentation", "logger")
"""Kinds of the plugins in `[tricks]`, which act in the order of the recipe whatever their kind."""

NAMED_TABLES: dict[str, tuple[Kind, ...]] = {"tricks": TRICK_KINDS, "metrics": ("metric",)}
"""Tables that hold any number of plugins, each under a name, and the kinds that each table accepts."""
