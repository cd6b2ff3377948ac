"""The truncation trick."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pydantic import Field
from torch import Tensor

from gankit import Plugin, Settings, hookimpl, truncated

if TYPE_CHECKING:
    from gankit import RecipeInfo

ORTHOGONAL = ("orthogonal_regularization", "relaxed_orthogonal_regularization")
"""What makes generators that take to truncation (Brock 2018, section 3.1)."""


class Truncation(Plugin):
    """Draws z near the middle of the prior when samples are drawn: fewer kinds of images, better ones.

    Source: Brock 2018, section 3.1: numbers of z beyond the threshold are drawn again until they are within it. It
    acts on grids and on all that is sampled from the saved generator; training draws from the whole prior.
    `gankit sample --truncation` does the same for once.

    When to use: typical images are wanted, to show; with a generator trained with orthogonal regularisation.
    When not: for measures of a generator, which are to be of all that it draws.
    """

    name = "truncation"

    class Config(Settings):
        threshold: float = Field(1.0, gt=0, description="no number of z is larger than this in absolute value")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("latent") != "normal":
            yield (
                f"it presupposes a normal prior, whose middle is where most z lie; {recipe.use_of('latent')} has no "
                "such middle"
            )
        if not any(recipe.uses(name) for name in ORTHOGONAL):
            yield (
                "a generator that was not trained for it may draw artefacts from a truncated z (Brock 2018, section "
                "3.1); relaxed_orthogonal_regularization makes one that takes to it more often"
            )

    @hookimpl
    def sampling_latent(self, z: Tensor, redraw: Callable[[], Tensor]) -> Tensor:
        return truncated(z, redraw, self.config.threshold)
