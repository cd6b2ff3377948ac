"""Base class of plugins: a class with a name, a kind, settings and hook implementations.

Example of a complete plugin of kind `trick`, in a Python file in the folder of the recipe:

    from pydantic import Field
    from gankit import Plugin, Settings, hookimpl

    class LouderFakes(Plugin):
        \"\"\"Scale the fake images that enter D. Source: none, an example.\"\"\"

        name = "louder_fakes"

        class Config(Settings):
            gain: float = Field(1.1, gt=0, description="factor of the fake images")

        config: Config

        @hookimpl
        def discriminator_inputs(self, images, condition, source):
            return (images * self.config.gain if source == "fake" else images), condition
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pluggy
from pydantic import BaseModel, ConfigDict

from gankit.plugin.slots import Kind

if TYPE_CHECKING:
    from torch import Tensor

State = Literal["shared", "per_rank"]
Direction = Literal["lower", "higher"]

hookimpl = pluggy.HookimplMarker("gankit")
"""Decorator that marks a method of a plugin as an implementation of the hook point with the same name."""


class Settings(BaseModel):
    """Base class of every plugin's settings class `Config`. Unknown keys, NaN and infinity are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Plugin:
    """Base class of every plugin.

    A run creates one instance of each plugin in its recipe before the networks are built. Objects that are created
    later, such as the networks, are passed to the plugin's hooks.
    """

    name: ClassVar[str]
    """Name of the plugin in recipes."""

    kind: ClassVar[Kind] = "trick"
    """Kind of the plugin. The kind determines which tables of a recipe can contain the plugin."""

    api_version: ClassVar[int] = 1
    """Minimum version of gankit's hook points that the plugin needs. The installed version is `gankit.API_VERSION`."""

    uses_targets: ClassVar[bool] = False
    """True for a loss that uses the targets `step.real_target` and `step.fake_target`.

    Label smoothing, for example, changes these targets, so it has no effect on losses that do not use them.
    """

    cross_entropy: ClassVar[bool] = False
    """True for a loss that trains D with cross-entropy.

    The sigmoid of D's logit is then D's estimate of the probability that an image is real.
    """

    relativistic_logits: ClassVar[bool] = False
    """True for a trick whose loss terms use only differences between D's logits, as in relativistic GANs.

    The value of a single logit then has no meaning.
    """

    uses_weights: ClassVar[bool] = False
    """True for a loss that uses the sample weights `step.real_weight` and `step.fake_weight`."""

    batch_coupled: ClassVar[bool] = False
    """True for a normalisation or a trick that makes a network's output for one image depend on the whole batch.

    An example is batch norm. gankit warns if such a plugin is used with gradient accumulation (`train.accumulate` above
    1), or in a run with several ranks (distributed processes).
    """

    per_class_networks: ClassVar[bool] = False
    """True for a plugin that builds a separate network for each class.

    Features of images from different classes then come from different networks, so these features are not comparable.
    """

    spherical_prior: ClassVar[bool] = False
    """True for a prior whose samples lie near a sphere around 0, such as a normal distribution.

    `gankit sample --interpolate` then interpolates z along an arc of the sphere (slerp) instead of a straight line.
    """

    mixes_classes: ClassVar[bool] = False
    """True for a generator or normalisation that accepts class weights (B, K) for K classes, in place of labels (B,).

    For an image between two classes, the weights are, for example, 0.7 and 0.3. `gankit sample --to-class` generates
    such images.
    """

    sampling_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """Range (low, high) of useful values for each number in `Config` that changes samples, but not the weights.

    Example: `{"psi": (0.0, 1.0)}` for the truncation of w. `gankit demo` shows a slider for each of these settings.
    """

    sample_suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the files that the hook `save_sample_file` writes, in lower case, such as `(".csv", ".parquet")`."""

    state_scope: ClassVar[State] = "shared"
    """Scope of the plugin's state in a run with several ranks (the processes of a distributed run).

    "shared": the state is computed only from values that are equal on all ranks, so the state is equal on all ranks
    too. "per_rank": the state differs between ranks, because the state depends on a rank's own images or random
    numbers.
    """

    read_only: ClassVar[bool] = False
    """True for a trick that implements training hooks but does not affect the training, such as a monitor.

    `gankit ablate` repeats the training without one trick at a time, but never removes a read-only trick. A plugin that
    implements only hook points for logs, sample grids and metrics counts as read-only even if this attribute is False.
    """

    better: ClassVar[Mapping[str, Direction]] = {}
    """Direction, "lower" or "higher", in which each metric of the hook `compute_metrics` improves, by name.

    Example: `{"precision": "higher", "recall": "higher"}`. `output.keep_best` accepts only metrics listed here. Leave
    out a metric if neither lower nor higher is always better, for example a ratio whose best value is 1.
    """

    Config: ClassVar[type[Settings]] = Settings
    """Settings class of the plugin: the names, types, bounds and defaults of the plugin's settings in a recipe."""

    config: Any
    """Validated settings of this instance."""

    def __init__(self, config: Settings) -> None:
        self.config = config

    def state_dict(self) -> dict[str, Tensor | int | float | str | bool | None]:
        """Return the plugin's state for a checkpoint: a flat dict of tensors, numbers, strings, booleans and None."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned. The tensors in `state` are on the device of the run."""
        if state:
            raise ValueError(f"{type(self).__name__} has a state_dict but no load_state_dict")
