"""What a plugin is: a class with a name, a kind, settings and hook implementations.

A whole trick, in one file beside a recipe:

    from pydantic import Field
    from gankit import Plugin, Settings, hookimpl

    class LouderFakes(Plugin):
        \"\"\"Scales what D is shown of G. Source: nobody, 2026.\"\"\"

        name = "louder_fakes"

        class Config(Settings):
            gain: float = Field(1.1, gt=0, description="what fake images are multiplied by")

        config: Config

        @hookimpl
        def discriminator_inputs(self, images, labels, source):
            return (images * self.config.gain if source == "fake" else images), labels
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pluggy
from pydantic import BaseModel, ConfigDict

from gankit.plugin.slots import Kind

if TYPE_CHECKING:
    from torch import Tensor

State = Literal["shared", "per_rank"]

hookimpl = pluggy.HookimplMarker("gankit")
"""Marks a method of a plugin as the implementation of the hook point of the same name."""


class Settings(BaseModel):
    """Base of every plugin's `Config`: unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin:
    """Base of every plugin.

    One instance lives for one run. It is built from its validated settings, and nothing else, before any
    network exists; what it needs later, the hooks hand to it.
    """

    name: ClassVar[str]
    """What recipes call it."""

    kind: ClassVar[Kind] = "trick"
    """The slot of the recipe it fills; a trick fills none and stands under `[tricks]`."""

    api_version: ClassVar[int] = 1
    """The version of gankit's hook points (`gankit.API_VERSION`) that it was written for."""

    uses_targets: ClassVar[bool] = False
    """For a loss: it reads `step.real_target` and `step.fake_target`, so smoothing and flips have effect."""

    cross_entropy: ClassVar[bool] = False
    """For a loss: D's answers are logits of a probability, from which it can be told how sure D is."""

    relativistic_logits: ClassVar[bool] = False
    """Trick whose loss terms use differences of D's logits, so that a single logit has no meaning of its own."""

    uses_weights: ClassVar[bool] = False
    """For a loss: it reads `step.real_weight` and `step.fake_weight`."""

    batch_coupled: ClassVar[bool] = False
    """One image's output depends on the rest of its batch (batch norm, minibatch discrimination)."""

    per_class_networks: ClassVar[bool] = False
    """For a network: each class has a network of its own inside, so one class's features mean nothing for another's."""

    spherical_prior: ClassVar[bool] = False
    """For a prior: its z lie near a sphere around 0, so the way from one to another is an arc (`gankit sample
    --interpolate`)."""

    state_scope: ClassVar[State] = "shared"
    """With several ranks, what its `state_dict` holds: "shared", the same on all of them, as it is when it comes from
    networks, from `run.values` or from `run.ranks.mean`; or "per_rank", of images and random numbers of its own."""

    read_only: ClassVar[bool] = False
    """For a trick: its hooks take part in the game and change nothing, so `gankit ablate` need not play without it. Of
    one that only logs, draws or measures this is known."""

    Config: ClassVar[type[Settings]] = Settings

    config: Any

    def __init__(self, config: Settings) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Tensor | int | float | str | bool | None]:
        """What must survive a kill and a resume, flat: tensors and plain values by name."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave. Tensors arrive on the run's device."""
        if state:
            raise ValueError(f"{type(self).__name__} has a state_dict but no load_state_dict")
