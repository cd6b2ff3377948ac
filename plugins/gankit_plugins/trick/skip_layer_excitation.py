"""Skip-layer excitation in any convolutional generator."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Player, Plugin, RecipeInfo, Run, Settings, Spec, hookimpl
from gankit_plugins.layers.forward_hooks import forward_hooks
from gankit_plugins.layers.probe import feature_maps
from gankit_plugins.layers.skip_excitation import SkipLayerExcitation
from gankit_plugins.trick.self_attention import nearest


class ExcitedGenerator(nn.Module):
    """Generator in which the output of one module scales the channels of a later module's output.

    Args:
        network: G.
        low: name of the module of G that returns the small feature map.
        high: name of the module of G that returns the large feature map.
        excitation: layer that takes both feature maps.
    """

    def __init__(self, network: nn.Module, low: str, high: str, excitation: SkipLayerExcitation) -> None:
        super().__init__()
        self.network = network
        self.low = low
        self.high = high
        self.excitation = excitation

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and a condition."""
        small: list[Tensor] = []
        functions = {self.low: small.append, self.high: lambda x: self.excitation(small[-1], x)}
        with forward_hooks(self.network, functions):
            return self.network(z, condition)


class SkipLayerExcitationTrick(Plugin):
    """Skip-layer excitation in the generator: an early, small feature map scales the channels of a late, large one.

    Source: Liu 2021 (FastGAN), section 3.1, equation 1. The default sizes 8x8 and 128x128 are one of the paper's pairs.
    The small feature map is pooled to 4x4. A 4x4 convolution, LeakyReLU, a 1x1 convolution and a sigmoid compute a
    factor for each channel of the large feature map. The large map is the layer output whose size is nearest to `high`.
    The small map is an earlier and smaller layer output. Its size is the one nearest to `low`. For several pairs, use
    the trick several times under different names.

    When to use: in convolutional generators, for a short path of the gradients from the image to early layers.
    When not: with the generator `fastgan`, which already has skip-layer excitation; with fully connected networks,
    which have no feature maps.
    """

    name = "skip_layer_excitation"

    class Config(Settings):
        low: int = Field(8, ge=2, description="side of the small feature map, in pixels; the nearest size is used")
        high: int = Field(128, ge=2, description="side of the large feature map, in pixels; the nearest size is used")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.plugin_class("generator").per_class_networks:
            raise ValueError(
                f"{recipe.use_of('generator')} has a network for each class, so a row of a feature map contains "
                "several images, which must not scale each other; remove skip_layer_excitation, or use another "
                "generator"
            )
        return ()

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module:
        if player == "discriminator":
            return network
        maps = [one for one in feature_maps(network, player, spec, run) if min(one.size) > 1]
        if not maps:
            raise InputError(
                f"{type(network).__name__} has no layers that return feature maps; remove skip_layer_excitation, or "
                "use a convolutional generator such as dcgan or sngan"
            )
        high = nearest(maps, self.config.high)
        smaller = [one for one in maps[: maps.index(high)] if min(one.size) < min(high.size)]
        if not smaller:
            sides = sorted({min(one.size) for one in maps})
            raise InputError(
                f"no smaller feature map comes before {high.module} of {type(network).__name__}, whose side of "
                f"{min(high.size)} pixels is nearest to high; there are sides of {', '.join(map(str, sides))} pixels; "
                "set high to a larger one, or remove skip_layer_excitation"
            )
        low = nearest(smaller, self.config.low)
        return ExcitedGenerator(network, low.module, high.module, SkipLayerExcitation(low.channels, high.channels))
