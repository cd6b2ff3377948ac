"""Self-attention in G and D, as in SAGAN."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Player, Plugin, RecipeInfo, Run, Settings, Spec, hookimpl
from gankit_plugins.layers.probe import FeatureMap, feature_maps
from gankit_plugins.layers.self_attention import SelfAttention
from gankit_plugins.layers.weights import BOTH, Players


class AttendedLayer(nn.Module):
    """Layer of a network, followed by self-attention."""

    def __init__(self, layer: nn.Module, attention: SelfAttention) -> None:
        super().__init__()
        self.layer = layer
        self.attention = attention

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Call the layer, and return its feature maps (B, C, H, W) after self-attention."""
        return self.attention(self.layer(*inputs, **options))


def nearest(maps: list[FeatureMap], side: int) -> FeatureMap:
    """Return the feature map whose size is nearest to `side`.

    The distance is the absolute logarithm of the ratio of the smaller side to `side`. If two sizes have the same
    distance, the larger one is used. If several modules return maps of this size, the first of the least nested modules
    is used.
    """
    size = min((abs(math.log2(min(one.size) / side)), -min(one.size), one.size) for one in maps)[-1]
    candidates = [one for one in maps if one.size == size]
    depth = min(one.module.count(".") for one in candidates)
    return next(one for one in candidates if one.module.count(".") == depth)


class SelfAttentionTrick(Plugin):
    """Self-attention between all positions of a feature map, after one layer of the generator and of the discriminator.

    Source: Zhang 2019 (SAGAN), section 3, equations 1 to 3. For feature maps with C channels, the convolutions f, g and
    h have C / 8 output channels, and v has C output channels. In the authors' code, h has C / 2 channels, and f and h
    are max-pooled. The initial gamma is 0. The attention acts on the feature map whose size is nearest to `side`, after
    the first block of this size, but never on the image. The normalisation `spectral_norm` of a player also normalises
    the convolutions f, g, h and v. Other normalisations do not apply to these convolutions. Attention between N
    positions needs N^2 numbers for each image: 65,536 at 16x16, and 16,777,216 at 64x64.

    When to use: in convolutional networks, for images with distant parts that must match. A convolution connects only
    neighbouring pixels.
    When not: with fully connected networks, which have no feature maps. Also not with one network per class, because
    each feature map then contains several images.
    """

    name = "self_attention"

    class Config(Settings):
        side: int = Field(16, ge=2, description="side of the feature map, in pixels; the nearest size is used")
        players: Players = Field(BOTH, description="players that get the attention")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        for player in self.config.players:
            if recipe.plugin_class(player).per_class_networks:
                raise ValueError(
                    f"{recipe.use_of(player)} has a network for each class, so a row of a feature map contains several "
                    "images, which must not exchange features; remove self_attention, or use another network"
                )
        return ()

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None, spec: Spec) -> nn.Module:
        if player not in self.config.players:
            return network
        maps = [one for one in feature_maps(network, player, spec, run) if min(one.size) > 1]
        if not maps:
            raise InputError(
                f"{type(network).__name__} has no layers that return feature maps, so attention has no place; remove "
                f"{player} from players, or use a convolutional network such as dcgan or sngan"
            )
        place = nearest(maps, self.config.side)

        def normalize(layer: nn.Module, features: int) -> nn.Module:
            # Ignore the returned module. Spectral norm changes the layer in place, and other normalisations return
            # additional layers, which equation 1 does not have.
            spec.normalize(player, layer, features)
            return layer

        attended = AttendedLayer(network.get_submodule(place.module), SelfAttention(place.channels, normalize))
        parent, _, leaf = place.module.rpartition(".")
        setattr(network.get_submodule(parent), leaf, attended)
        return network
