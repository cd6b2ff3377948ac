"""What networks are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from gankit.plugin.slots import Player

Normalize = Callable[[Player, nn.Module, int], nn.Module]
"""(player, layer, features) to the layer with its normalisation, as the recipe's `[normalization]` has it."""


def _as_it_is(player: Player, layer: nn.Module, features: int) -> nn.Module:
    return layer


@dataclass
class Spec:
    """Facts about the images and the latent space, known before any network is.

    `load_data` fills in the images' side, `adjust_spec` may change any of it, and the architectures read it.
    """

    channels: int = 3
    """Channels of an image."""

    resolution: int = 32
    """Height and width of an image, in pixels."""

    classes: int = 0
    """Number of classes; 0 when the images have no labels."""

    class_names: tuple[str, ...] = ()

    latent_size: int = 100
    """Length of z."""

    pack: int = 1
    """Images that the discriminator judges as one, side by side along the channels (Lin 2018). Its own spec has
    that many times the channels."""

    conditional: bool = False
    """The generator draws the class that it is asked for. Its plugin says so, in `adjust_spec`."""

    class_balanced: bool = False
    """Every training batch holds the same number of images of each class."""

    normalize: Normalize = _as_it_is
    """Called by the architectures on each layer that may be normalised: `spec.normalize("generator", conv, 64)`."""
