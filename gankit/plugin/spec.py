"""Facts that networks are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from gankit.plugin.slots import Player

Normalize = Callable[[Player, nn.Module, int], nn.Module]
"""Function (player, layer, features) that returns the layer with the normalisation of the recipe."""


def _without_normalization(player: Player, layer: nn.Module, features: int) -> nn.Module:
    return layer


@dataclass
class Spec:
    """Facts about the images and the latent space, known before any network is built.

    The dataset sets the facts about images, and the hook `adjust_spec` may change every field.
    """

    channels: int = 3
    """Channels of an image."""

    resolution: int = 32
    """Height and width of an image, in pixels."""

    classes: int = 0
    """Number of classes. 0 if the images have no labels."""

    class_names: tuple[str, ...] = ()

    latent_size: int = 100
    """Length of z."""

    pack: int = 1
    """Number of images that D receives as one input, stacked along the channels (PacGAN, Lin 2018).

    The spec for D has `pack` times the channels.
    """

    conditional: bool = False
    """True if the generator depends on the labels. The plugin of the generator sets it in `adjust_spec`."""

    class_balanced: bool = False
    """True if every training batch has the same number of images of each class."""

    normalize: Normalize = _without_normalization
    """Function that the networks call on each layer that may be normalised: `spec.normalize("generator", conv, 64)`."""
