"""Base class of plugins: a class with a name, a kind, settings and hook implementations.

Example of a complete trick, in a file beside the recipe:

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
"""Decorator that marks a method of a plugin as the implementation of the hook point of the same name."""


class Settings(BaseModel):
    """Base class of every plugin's `Config`. Unknown keys, NaN and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin:
    """Base class of every plugin.

    A run creates one instance of each of its plugins from the validated settings, before it builds the networks. Later
    objects, such as networks, reach the plugin as arguments of its hooks.
    """

    name: ClassVar[str]
    """Name in recipes."""

    kind: ClassVar[Kind] = "trick"
    """Kind of the plugin. It decides in which tables of a recipe the plugin can be used."""

    api_version: ClassVar[int] = 1
    """Version of gankit's hook points (`gankit.API_VERSION`) that the plugin needs."""

    uses_targets: ClassVar[bool] = False
    """For a loss: it uses `step.real_target` and `step.fake_target`, so label smoothing and label flips affect it."""

    cross_entropy: ClassVar[bool] = False
    """For a loss: the sigmoid of D's logits is the probability that an image is real."""

    relativistic_logits: ClassVar[bool] = False
    """For a trick: its loss terms use differences of D's logits, so a single logit has no meaning."""

    uses_weights: ClassVar[bool] = False
    """For a loss: it uses `step.real_weight` and `step.fake_weight`."""

    batch_coupled: ClassVar[bool] = False
    """True if the output for one image depends on the other images of its batch, as with batch norm."""

    per_class_networks: ClassVar[bool] = False
    """For a network: it has a separate network for each class, so features of different classes are not comparable."""

    spherical_prior: ClassVar[bool] = False
    """For a prior: z lies near a sphere around 0, so `gankit sample --interpolate` follows an arc."""

    state_scope: ClassVar[State] = "shared"
    """Scope of `state_dict` when several ranks train together.

    "shared": the state is equal on all ranks, because it comes from networks, `run.values` or `run.ranks.mean`.
    "per_rank": the state differs, because it comes from a rank's own images or random numbers.
    """

    read_only: ClassVar[bool] = False
    """For a trick: its hooks take part in training but change nothing, so `gankit ablate` need not leave it out.

    A plugin that implements only hook points for logs, grids and metrics is read-only without this mark.
    """

    Config: ClassVar[type[Settings]] = Settings
    """Settings of the plugin in a recipe."""

    config: Any
    """Validated settings of this instance."""

    def __init__(self, config: Settings) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Tensor | int | float | str | bool | None]:
        """Return the state to save in a checkpoint: tensors and plain values by name, without nesting."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Tensors are on the device of the run."""
        if state:
            raise ValueError(f"{type(self).__name__} has a state_dict but no load_state_dict")
