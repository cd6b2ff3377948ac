"""What one turn works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import Tensor

from gankit.errors import PluginError
from gankit.plugin.slots import Player
from gankit.suggest import nearest

if TYPE_CHECKING:
    from gankit.training.run import Game

Source = Literal["real", "fake"]


class Judgement(NamedTuple):
    """What a discriminator returns for B images."""

    logits: Tensor
    """(B,), before any sigmoid: large means real."""

    features: Tensor
    """(B, F), the input of the last layer."""


@dataclass(frozen=True)
class Term:
    """A named, weighted part of a player's loss."""

    name: str
    function: Callable[[Step], Tensor]
    """From the step to a scalar."""

    weight: float = 1.0

    every: int = 1
    """Counted in the player's turns. The term acts on every so many turns, weighted that many times (lazy
    regularisation, Karras 2019)."""


@dataclass
class Step:
    """One turn: what was drawn for it, and what D says of it.

    What D says is computed when a term first asks, so a loss that never looks at real images in G's turn
    never pays for them.
    """

    game: Game
    player: Player
    real: Tensor
    """(B, C, R, R) in [-1, 1]."""

    labels: Tensor | None
    """(B,) int64, the classes of the real and of the fake images alike; None when there are no classes."""

    z: Tensor
    """(B, latent_size)."""

    fake: Tensor
    """(B, C, R, R) in [-1, 1]; carries gradients to G in G's turn only."""

    real_target: Tensor | float = 1.0
    """What D is trained to answer on real images, as a probability; a tensor has shape (B,)."""

    fake_target: Tensor | float = 0.0
    """What D is trained to answer on fake images."""

    generator_target: Tensor | float = 1.0
    """What G wants D to answer on its images."""

    real_weight: Tensor | float = 1.0
    """Weight of the real half of D's loss (alpha of Meng 2021, equation 8)."""

    fake_weight: Tensor | float = 1.0
    """Weight of the fake half of D's loss (beta of Meng 2021, equation 8)."""

    discriminator: Callable[[Tensor, Tensor | None], Any] | None = None
    """Who judges in this step, in place of the game's discriminator."""

    simulated: bool = False
    """The turn is only looked ahead to. Targets and weights are set as ever; nothing is to be remembered of it."""

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises PluginError for what no step has: a misspelt field would change nothing, and nobody would know."""
        if name not in self.__dataclass_fields__ and not hasattr(type(self), name):
            raise PluginError(
                f"a step has no {name!r}; {nearest(name, self.__dataclass_fields__)}what a plugin wants to remember "
                "belongs on the plugin"
            )
        super().__setattr__(name, value)

    @property
    def answers(self) -> int:
        """How many logits D gives on the step's real images, and as many on the fake ones: B, or fewer when packed."""
        return len(self.real) // self.game.spec.pack

    @cached_property
    def shown_real(self) -> tuple[Tensor, Tensor | None]:
        """The real images and labels as D gets to see them, after every `discriminator_inputs`."""
        return self.game.discriminator_inputs(self.real, self.labels, "real", self.player)

    @cached_property
    def shown_fake(self) -> tuple[Tensor, Tensor | None]:
        """The fake images and labels as D gets to see them, after every `discriminator_inputs`."""
        return self.game.discriminator_inputs(self.fake, self.labels, "fake", self.player)

    @cached_property
    def real_output(self) -> Judgement:
        return self.judge(*self.shown_real)

    @cached_property
    def fake_output(self) -> Judgement:
        return self.judge(*self.shown_fake)

    def judge(self, images: Tensor, labels: Tensor | None) -> Judgement:
        """D's answer on (B, C, R, R) images exactly as given."""
        judge = self.game.discriminator if self.discriminator is None else self.discriminator
        return Judgement(*judge(images, labels))

    def with_outputs(self, real: Judgement, fake: Judgement, **changes: Any) -> Step:
        """A copy of the step in which D has answered so, and whose other fields are changed as given."""
        copy = replace(self, **changes)
        vars(copy).update(real_output=real, fake_output=fake)
        return copy
