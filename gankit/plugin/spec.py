"""Specification of the images and the latent space, from which the networks are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from gankit.errors import InputError
from gankit.plugin.condition import Condition, VectorCondition
from gankit.plugin.slots import Player

Normalize = Callable[[Player, nn.Module, int], nn.Module]
"""Function that takes (player, layer, features) and returns the layer with the recipe's normalisation for this player.

`features` is the layer's number of output channels.
"""


def _without_normalization(player: Player, layer: nn.Module, features: int) -> nn.Module:
    return layer


@dataclass
class Spec:
    """Specification of the images and the latent space, from which the networks are built.

    The fields that describe the images are set from the dataset. The hook `adjust_spec` may then change any field.
    """

    shape: tuple[int, ...] = (3, 32, 32)
    """Shape of a sample, without the batch dimension.

    Examples: (C, H, W) for an image, (C, L) for audio, (F,) for a row of a table.
    """

    condition: Condition | None = None
    """Description of the condition of the dataset, such as its classes. None for data without a condition."""

    fields: tuple[str, ...] = ()
    """Names of the dataset's further tensors, in addition to the images and their condition.

    In a training step, `step.fields` contains these tensors.
    """

    encoding: Mapping[str, Any] = field(default_factory=dict)
    """Description of how the samples encode the original data, from `Dataset.encoding`.

    The generator file contains it. A plugin can thus convert samples back to the form of the original data.
    """

    latent_size: int = 100
    """Size of the latent vector z."""

    pack: int = 1
    """Number of images that form one input of D, concatenated along the channel dimension (PacGAN, Lin 2018).

    The input of D has `pack` times the number of channels of an image. The hook `build_discriminator` gets a
    specification in which `shape` is the shape of this input.
    """

    latent_pairs: bool = False
    """True if D takes pairs of an image and its z, as in BiGAN. D's second input is then z, instead of the condition.

    The discriminator plugin sets this field in the hook `adjust_spec`. In the hook `discriminator_inputs`, this plugin
    returns z, (B, latent_size), in place of the condition.
    """

    conditional: bool = False
    """True if the generator uses the condition. The generator plugin sets this field in the hook `adjust_spec`."""

    class_balanced: bool = False
    """True if every training batch has the same number of images of each class."""

    normalize: Normalize = _without_normalization
    """Function that returns a layer with the recipe's normalisation.

    Example for a generator's layer with 64 output channels: `spec.normalize("generator", conv, 64)`.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels. Empty if the condition is not a class."""
        return () if self.condition is None else self.condition.class_names

    @property
    def classes(self) -> int:
        """Number of classes. 0 if the condition is not a class."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Number of channels of a sample, C."""
        return self.shape[0]

    def packed(self) -> Spec:
        """Return the specification of the inputs of D. With `pack` images in an input, their channels are concatenated.

        Condition vectors of these images are concatenated too. All other conditions are equal for the images of a pack.
        """
        condition = self.condition
        if isinstance(condition, VectorCondition) and self.pack > 1:
            names = tuple(f"{name} ({number})" for number in range(1, self.pack + 1) for name in condition.names)
            condition = VectorCondition(names, condition.ranges * self.pack)
        return replace(self, shape=(self.channels * self.pack, *self.shape[1:]), condition=condition)

    def image_size(self, owner: str) -> tuple[int, int]:
        """Return the height and width of an image, in pixels.

        Args:
            owner: name of the plugin that needs images, for the error message.

        Raises:
            InputError: the shape of a sample is not (C, H, W).
        """
        if len(self.shape) != 3:
            raise InputError(
                f"{owner} needs images, with channels, height and width, and a sample of the data has shape "
                f"{'x'.join(map(str, self.shape))}; choose other data or another plugin"
            )
        return self.shape[1], self.shape[2]

    def video_size(self, owner: str) -> tuple[int, int, int]:
        """Return the number of frames of a video clip, and the height and width of a frame in pixels.

        Args:
            owner: name of the plugin that needs video, for the error message.

        Raises:
            InputError: the shape of a sample is not (C, T, H, W).
        """
        if len(self.shape) != 4:
            raise InputError(
                f"{owner} needs video, with channels, frames, height and width, and a sample of the data has shape "
                f"{'x'.join(map(str, self.shape))}; choose data such as videos, or another plugin"
            )
        return self.shape[1], self.shape[2], self.shape[3]
