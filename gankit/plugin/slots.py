"""Players (generator and discriminator), kinds of plugin, and tables of a recipe.

This module is fast to import, because it does not import torch or pydantic.
"""

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
"""Recipe tables that each contain one plugin for the whole run, such as `[generator]`."""

PLAYER_SLOTS: tuple[Kind, ...] = ("normalization", "optimizer")
"""Recipe tables with one plugin for each player. For example, `[optimizer]` contains `[optimizer.generator]`."""

DEFAULT_USE: dict[str, str] = {
    "latent": "normal",
    "loss": "non_saturating",
    "lr_schedule": "constant",
    "normalization": "none",
    "optimizer": "adam",
    "extractor": "bundled",
}
"""Name of the default plugin for each table that a recipe may leave out, such as `[loss]`."""

TRICK_KINDS: tuple[Kind, ...] = ("trick", "penalty", "augmentation", "logger")
"""Kinds of plugin that are allowed in the table `[tricks]`. The plugins are called in the order of the recipe."""

NAMED_TABLES: dict[str, tuple[Kind, ...]] = {"tricks": TRICK_KINDS, "metrics": ("metric",)}
"""Recipe tables that contain any number of named plugins, with the kinds of plugin that each table allows."""
