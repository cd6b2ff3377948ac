"""Players, kinds of plugin, and the tables of a recipe for them. Does not import torch or pydantic."""

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
"""Tables of a recipe with one plugin for the whole run, such as `[generator]`."""

PLAYER_SLOTS: tuple[Kind, ...] = ("normalization", "optimizer")
"""Tables of a recipe with one plugin for each player, such as `[optimizer.generator]`."""

DEFAULT_USE: dict[str, str] = {
    "latent": "normal",
    "loss": "non_saturating",
    "lr_schedule": "constant",
    "normalization": "none",
    "optimizer": "adam",
    "extractor": "classifier",
}
"""Plugin of each slot that a recipe may leave out. All other slots are required."""

TRICK_KINDS: tuple[Kind, ...] = ("trick", "penalty", "augmentation", "logger")
"""Kinds of the plugins in `[tricks]`. All of them act in the order of the recipe."""

NAMED_TABLES: dict[str, tuple[Kind, ...]] = {"tricks": TRICK_KINDS, "metrics": ("metric",)}
"""Tables with any number of plugins, each under a name, and the kinds that each table accepts."""
