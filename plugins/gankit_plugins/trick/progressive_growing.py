"""Progressive growing: training starts at 4x4 pixels, and the size doubles several times, up to the full size."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field
from torch import Tensor

from gankit import InputError, Player, Plugin, Run, Settings, Source, hookimpl
from gankit_plugins.layers.progressive import Growing, complete_at, growth_at
from gankit_plugins.layers.square_sizes import FIRST


class ProgressiveGrowing(Plugin):
    """Growth of both networks during training: they are trained at 4x4 pixels, then at 8x8, up to the full size.

    Source: Karras 2017, section 2, figure 2 and appendix A.1. At each size, the networks are trained for `stable`
    iterations. Then the layers of the next size fade in during `fade` iterations: their weight alpha grows from 0 to 1.
    The paper uses 800,000 images for each of these two phases, which is 50,000 iterations with batches of 16. The full
    size is trained until the end.

    D's input images are averaged down to the current size. Training at small sizes is therefore faster, and penalties
    on D's gradient act on the small images. The detail of real images fades in together with the layers. Place this
    trick after augmentations and noise, which then act on images of the full size. Layers of larger sizes have no
    gradient, so Adam does not change them. The paper has smaller batches for sizes above 128x128; here, the batch size
    is constant.

    When to use: with the generator and the discriminator `pggan`, especially for large images.
    When not: with other networks, which cannot grow; the recipe is then rejected.
    """

    name = "progressive_growing"

    class Config(Settings):
        stable: int = Field(50_000, ge=1, description="iterations of training at each size")
        fade: int = Field(50_000, ge=1, description="iterations in which the layers of the next size fade in")

    config: Config

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> None:
        """Raise an InputError if the player's network cannot grow. Return no loss terms.

        The check is in this hook, because the hook is called before the run's directory is created.
        """
        growing_part(run, player)

    @hookimpl
    def on_start(self, run: Run) -> None:
        self.generator, self.discriminator = growing_part(run, "generator"), growing_part(run, "discriminator")
        needed = complete_at(self.config.stable, self.config.fade, self.generator.levels)
        if run.iteration == 0 and run.recipe.train.iterations < needed:
            run.warn(
                f"the full size is complete after {needed} iterations, and train.iterations is "
                f"{run.recipe.train.iterations}; lower stable and fade of progressive_growing, or train for longer"
            )

    @hookimpl
    def before_iteration(self, run: Run) -> None:
        growth = growth_at(run.iteration, self.config.stable, self.config.fade, self.generator.levels)
        for network in (self.generator, self.discriminator):
            network.grow(growth)

    @hookimpl
    def discriminator_inputs(
        self, images: Tensor, condition: Tensor | None, source: Source
    ) -> tuple[Tensor, Tensor | None]:
        images = self.discriminator.to_level(images)
        return (self.discriminator.fade_detail(images) if source == "real" else images), condition

    @hookimpl
    def log_values(self) -> Mapping[str, float]:
        growth = self.generator.now
        return {"trained_side": FIRST << growth.level, "alpha": growth.alpha}


def growing_part(run: Run, player: Player) -> Growing:
    """Return the `Growing` module of a player's network, which plugins may have wrapped in other modules.

    Raises:
        InputError: the network has no `Growing` module.
    """
    for module in run.networks[player].modules():
        if isinstance(module, Growing):
            return module
    raise InputError(
        f"{run.recipe.use_of(player)} cannot grow; use pggan as generator and as discriminator, or remove "
        "progressive_growing"
    )
