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
