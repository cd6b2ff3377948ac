"""Layers of the networks for video: sizes of the feature maps, and convolutions in time and space (Vondrick 2016)."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from gankit import InputError, Spec

SLOPE = 0.2
"""Negative slope of the discriminator's LeakyReLU."""

DEVIATION = 0.01
"""Standard deviation of the initial weights (Vondrick 2016)."""

SMALLEST = 4
"""Maximum length, in pixels, of the smaller side of D's last feature map and of G's first feature map."""

ClipSize = tuple[int, int, int]
"""Number of frames, height and width."""

Layer = TypeVar("Layer", nn.Conv3d, nn.ConvTranspose3d)


def sizes_of(spec: Spec, owner: str) -> list[ClipSize]:
    """Return the sizes of all feature maps, starting with the clip. Each size is half of the previous one.

    Odd sides are rounded down. The halving ends when the smaller side of a frame is at most 4 pixels. A length of one
    frame is not halved. For 32 frames of 64x64, the last size is (2, 4, 4), and for 16 frames (1, 4, 4).

    Raises:
        InputError: the data are not video, have a single frame, or have frames smaller than 4x4.
    """
    frames, height, width = spec.video_size(owner)
    if frames < 2 or min(height, width) < SMALLEST:
        raise InputError(
            f"{owner} needs at least 2 frames of at least {SMALLEST}x{SMALLEST} pixels, and the clips have {frames} of "
            f"{height}x{width}; set a larger data.frames or data.resolution"
        )
    sizes = [(frames, height, width)]
    while len(sizes) < 2 or min(sizes[-1][1:]) > SMALLEST:
        frames, height, width = sizes[-1]
        sizes.append((max(1, frames // 2), height // 2, width // 2))
    return sizes


def halving(before: int, after: int, size: ClipSize) -> nn.Conv3d:
    """Return a 4x4x4 convolution with stride 2, for feature maps of the given size. It halves each side.

    For a single frame, the kernel and the stride are 1 in time.
    """
    kernel, stride, padding = _in_time(size)
    return initialized(nn.Conv3d(before, after, (kernel, 4, 4), (stride, 2, 2), (padding, 1, 1)))


def doubling(before: int, after: int, size: ClipSize) -> nn.ConvTranspose3d:
    """Return a 4x4x4 transposed convolution with stride 2 and output size `size`. It is the reverse of `halving`."""
    kernel, stride, padding = _in_time(size)
    odd = (size[0] % 2 if stride == 2 else 0, size[1] % 2, size[2] % 2)
    layer = nn.ConvTranspose3d(before, after, (kernel, 4, 4), (stride, 2, 2), (padding, 1, 1), odd)
    return initialized(layer)


def initialized(layer: Layer) -> Layer:
    """Initialise a layer with weights from N(0, 0.01^2) and biases of 0, and return it."""
    nn.init.normal_(layer.weight, 0.0, DEVIATION)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _in_time(size: ClipSize) -> tuple[int, int, int]:
    """Return kernel size, stride and padding in time for feature maps that are as long as `size`."""
    return (1, 1, 0) if size[0] == 1 else (4, 2, 1)
