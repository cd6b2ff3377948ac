"""Step: the samples of one update, and the discriminator's output for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from torch import Tensor, nn

from gankit.errors import PluginError
from gankit.plugin.slots import Player
from gankit.plugin.spec import Spec
from gankit.suggest import nearest, new_name

if TYPE_CHECKING:
    from gankit.runtime.ranks import Ranks

Source = Literal["real", "fake"]


class StepContext(Protocol):
    """Names of the run that a step and its loss terms use."""

    spec: Spec
    ranks: Ranks
    """Processes that train this run together, usually one."""

    @property
    def discriminator(self) -> nn.Module:
        """Trained discriminator."""

    def discriminator_inputs(
        self, images: Tensor, labels: Tensor | None, source: Source, player: Player
    ) -> tuple[Tensor, Tensor | None]:
        """Return images (B, C, R, R) and labels (B,) after all `discriminator_inputs` hooks."""


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator for B inputs."""

    logits: Tensor
    """(B,), before any sigmoid. Large values mean real."""

    features: Tensor
    """(B, F), the input of the last layer."""


@dataclass(frozen=True)
class LossTerm:
    """Weighted term of a player's loss."""

    name: str
    function: Callable[[Step], Tensor]
    """Function from the step to a scalar."""

    weight: float = 1.0

    every: int = 1
    """Interval n, in steps of the player: the term acts on every n-th step, with n times its weight.

    Source: lazy regularisation, Karras 2019.
    """


@dataclass
class Step:
    """Samples of one update of one player.

    The outputs of D are computed when a loss term first uses them. So D is not applied to the real images in a G step
    whose loss does not use them.
    """

    run: StepContext
    player: Player
    real: Tensor
    """(B, C, R, R) in [-1, 1]."""

    labels: Tensor | None
    """(B,) int64, the classes of both the real and the fake images. None without classes."""

    z: Tensor
    """(B, latent_size)."""

    fake: Tensor
    """(B, C, R, R) in [-1, 1]. Has gradients with respect to G only in the G step."""

    real_target: Tensor | float = 1.0
    """Target probability of D for real images. A tensor has shape (B,)."""

    fake_target: Tensor | float = 0.0
    """Target probability of D for fake images. A tensor has shape (B,)."""

    generator_target: Tensor | float = 1.0
    """Target probability of G for its fake images. A tensor has shape (B,)."""

    real_weight: Tensor | float = 1.0
    """Weight of the real half of D's loss (alpha of Meng 2021, equation 8)."""

    fake_weight: Tensor | float = 1.0
    """Weight of the fake half of D's loss (beta of Meng 2021, equation 8)."""

    discriminator: Callable[[Tensor, Tensor | None], Any] | None = None
    """Discriminator used in this step instead of the run's own."""

    simulated: bool = False
    """Simulated lookahead step. Plugins set targets and weights as usual but must not update their state."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field. Raise PluginError for an unknown name, because a misspelt field would have no effect."""
        if name not in self.__dataclass_fields__ and not hasattr(type(self), name):
            raise PluginError(
                f"a step has no {name!r}; {nearest(name, [*self.__dataclass_fields__, *vars(type(self))])}state of a "
                "plugin belongs on the plugin"
            )
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # a type checker would accept any name otherwise

        def __getattr__(self, name: str) -> Any:
            """Raise an error that gives the new name of a renamed field. Called only for missing names."""
            if (new := new_name(name, vars(type(self)))) is not None:
                raise PluginError(f"a step has no {name!r}; it is called {new!r} now")
            # This call raises the AttributeError again. It may come from inside a property.
            return self.__getattribute__(name)

    @property
    def num_logits(self) -> int:
        """Number of logits of D for the real images, equal to that for the fake ones: B, or B / pack with packing."""
        return len(self.real) // self.run.spec.pack

    @cached_property
    def real_inputs(self) -> tuple[Tensor, Tensor | None]:
        """Real images and labels that enter D, after all `discriminator_inputs` hooks."""
        return self.run.discriminator_inputs(self.real, self.labels, "real", self.player)

    @cached_property
    def fake_inputs(self) -> tuple[Tensor, Tensor | None]:
        """Fake images and labels that enter D, after all `discriminator_inputs` hooks."""
        return self.run.discriminator_inputs(self.fake, self.labels, "fake", self.player)

    @cached_property
    def real_output(self) -> DiscriminatorOutput:
        """Output of D for the real images."""
        return self.discriminate(*self.real_inputs)

    @cached_property
    def fake_output(self) -> DiscriminatorOutput:
        """Output of D for the fake images."""
        return self.discriminate(*self.fake_inputs)

    def discriminate(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return the output of D for images (B, C, R, R), without any `discriminator_inputs` hook."""
        discriminator = self.run.discriminator if self.discriminator is None else self.discriminator
        return DiscriminatorOutput(*discriminator(images, labels))

    def with_outputs(self, real: DiscriminatorOutput, fake: DiscriminatorOutput, **changes: Any) -> Step:
        """Return a copy of the step with these outputs of D and with the fields in `changes`."""
        copy = replace(self, **changes)
        vars(copy).update(real_output=real, fake_output=fake)
        return copy
