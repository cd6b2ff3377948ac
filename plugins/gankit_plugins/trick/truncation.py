"""Truncation trick: samples are generated from z near the centre of the prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import Field
from torch import Tensor

from gankit import Plugin, RecipeInfo, Settings, hookimpl

ORTHOGONAL = ("orthogonal_regularization", "relaxed_orthogonal_regularization")
"""Names of penalties with which more generators give good images under truncation (Brock 2018, section 3.1)."""


class Truncation(Plugin):
    """Samples from z near the centre of the prior: better images but less variety.

    Source: Brock 2018, section 3.1: values of z beyond the threshold are drawn again until they are within the
    threshold. The trick acts on image grids, metrics and samples of the saved generator. Training uses the whole prior.
    The command `gankit sample --truncation` truncates z without this trick.

    When to use: to show typical images of a generator that was trained with orthogonal regularisation.
    When not: to compute metrics, which should cover all images that a generator can produce.
    """

    name = "truncation"
    sampling_ranges = {"threshold": (0.1, 3.0)}

    class Config(Settings):
        threshold: float = Field(1.0, gt=0, description="largest absolute value in z")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if not hasattr(recipe.components["latent"].plugin_class, "truncate_latent"):
            raise ValueError(
                f"z of the prior {recipe.use_of('latent')} cannot be truncated; remove the trick, or set latent to "
                "normal"
            )
        if recipe.use_of("latent") != "normal":
            yield (
                f"truncation needs a normal prior, with most z near the centre, and the prior is "
                f"{recipe.use_of('latent')}; set latent = normal"
            )
        if not any(recipe.uses(name) for name in ORTHOGONAL):
            yield (
                "truncated z may cause artefacts if the generator was not trained for it (Brock 2018, section 3.1); "
                "add relaxed_orthogonal_regularization"
            )

    @hookimpl
    def sampling_latent(self, z: Tensor, truncate: Callable[[Tensor, float], Tensor]) -> Tensor:
        return truncate(z, self.config.threshold)
