"""Base class of plugins: a class with a name, a kind, settings and hook implementations.

Complete example of a trick, in a Python file in the folder of the recipe:

    from pydantic import Field
    from gankit import Plugin, Settings, hookimpl

    class LouderFakes(Plugin):
        \"\"\"Scale the fake images that enter D. Source: own example.\"\"\"

        name = "louder_fakes"

        class Config(Settings):
            gain: float = Field(1.1, gt=0, description="factor of the fake images")

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
"""Decorator for a plugin's method that implements the hook point of the same name."""


class Settings(BaseModel):
    """Base class of every plugin's `Config`. Unknown keys, NaN and infinite numbers raise a validation error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin:
    """Base class of every plugin.

    A run creates one instance of each of its plugins from the validated settings, before it builds the networks.
    Objects that are created later, such as the networks, are passed to the hooks of the plugin.
    """

    name: ClassVar[str]
    """Name of the plugin in recipes."""

    kind: ClassVar[Kind] = "trick"
    """Kind of the plugin. It determines in which tables of a recipe the plugin can be used."""

    api_version: ClassVar[int] = 1
    """Minimum version of gankit's hook points (`gankit.API_VERSION`) that the plugin needs."""

    uses_targets: ClassVar[bool] = False
    """True for a loss that uses `step.real_target` and `step.fake_target`. Label smoothing and flips change these."""

    cross_entropy: ClassVar[bool] = False
    """True for a loss that trains D so that the sigmoid of its logit is the probability that an image is real."""

    relativistic_logits: ClassVar[bool] = False
    """True for a trick whose loss terms use only differences between D's logits. A single logit then has no meaning."""

    uses_weights: ClassVar[bool] = False
    """True for a loss that uses the sample weights `step.real_weight` and `step.fake_weight`."""

    batch_coupled: ClassVar[bool] = False
    """True for a plugin, such as batch norm, that makes the output for an image depend on the rest of its batch."""

    per_class_networks: ClassVar[bool] = False
    """True for a plugin that builds a separate network for each class.

    Features of different classes are then not comparable.
    """

    spherical_prior: ClassVar[bool] = False
    """True for a prior whose z lies near a sphere around 0. `gankit sample --interpolate` then follows an arc."""

    state_scope: ClassVar[State] = "shared"
    """Scope of the plugin's state when several ranks train together.

    "shared": the state is equal on all ranks, because it is computed from networks, `run.values` or `run.ranks.mean`.
    "per_rank": the state differs between ranks, because it depends on a rank's own images or random numbers.
    """

    read_only: ClassVar[bool] = False
    """True for a trick that implements training hooks but does not affect training. `gankit ablate` does not remove it.

    A plugin that implements only hook points for logs, grids and metrics is read-only even if this is False.
    """

    Config: ClassVar[type[Settings]] = Settings
    """Settings class of the plugin. It defines the names, types, bounds and defaults of the settings in a recipe."""

    config: Any
    """Validated settings of this instance."""

    def __init__(self, config: Settings) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Tensor | int | float | str | bool | None]:
        """Return the plugin's state for a checkpoint: a flat dict of tensors, numbers, strings, booleans and None."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned. Tensors are on the device of the run."""
        if state:
            raise ValueError(f"{type(self).__name__} has a state_dict but no load_state_dict")
