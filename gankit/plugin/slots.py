"""The two players, and the kinds of plugin. Apart from `plugin.py`, so that a listing need not wait for pydantic."""

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
    "trick",
    "extractor",
    "measure",
    "command",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


SINGLE_SLOTS: tuple[Kind, ...] = ("data", "latent", "generator", "discriminator", "loss", "lr_schedule")


PLAYER_SLOTS: tuple[Kind, ...] = ("normalization", "optimizer")


DEFAULT_USE: dict[str, str] = {
    "latent": "normal",
    "loss": "non_saturating",
    "lr_schedule": "constant",
    "normalization": "none",
    "optimizer": "adam",
    "extractor": "classifier",
}
"""What fills a slot that the recipe leaves out: names, looked up like any other. Other slots must be filled."""


NAMED_TABLES: dict[str, Kind] = {"tricks": "trick", "measures": "measure"}
"""Tables of any number of plugins, each under a name, and the kind that they are of."""
