"""R3GAN's generator (Huang 2024)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Spec, hookimpl
from gankit_plugins.layers.conditioning import embedded, require_labels
from gankit_plugins.layers.dcgan import Size
from gankit_plugins.layers.r3gan import Architecture, changed_width, he, pointwise, stages, upsampling


class Basis(nn.Module):
    """Learned feature maps, each multiplied by a linear function of z."""

    def __init__(self, inputs: int, channels: int, size: Size) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, *size))
        self.factors = he(nn.Linear(inputs, channels, bias=False))

    def forward(self, z: Tensor) -> Tensor:
        """Scale the learned feature maps by linear functions of z (B, inputs). Return feature maps (B, C, H, W)."""
        return self.factors(z)[:, :, None, None] * self.maps


class R3ganGeneratorNetwork(nn.Module):
    """Network of learned feature maps at the smallest size, residual blocks at each size, and bilinear upsampling."""

    def __init__(self, spec: Spec, config: R3gan.Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.classes, config.class_embedding) if config.class_embedding else None
        *larger, (size, channels, blocks) = stages(spec, "generator", config)
        self.basis = Basis(spec.latent_size + config.class_embedding, channels, size)
        layers = list(blocks)
        for size, after, blocks in reversed(larger):
            # A 1x1 convolution without biases commutes with the upsampling. Before the upsampling, it needs only a
            # quarter of the operations.
            layers += [*changed_width(channels, after), upsampling(size), *blocks]
            channels = after
        self.body = nn.Sequential(*layers)
        self.to_image = nn.Sequential(pointwise(channels, spec.channels), nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and the condition.

        The condition is labels (B,) or weights of the classes (B, K). It is unused without `class_embedding`.
        """
        if self.embedding is not None:
            assert condition is not None, "a conditional generator needs labels"
            z = torch.cat([z, embedded(condition, self.embedding.weight)], dim=1)
        return self.to_image(self.body(self.basis(z)))


class R3gan(Plugin):
    """R3GAN's generator: residual blocks of 1x1 and grouped 3x3 convolutions, without normalisation.

    Source: Huang 2024, section 4, configuration E. G begins with learned feature maps of 4x4, whose channels are
    multiplied by linear functions of z. Each size has two residual blocks. Between two sizes, the maps are upsampled
    bilinearly. A 1x1 convolution changes the number of channels where necessary. The initial weights are those of Fixup
    (Zhang 2019): He's initial weights, multiplied by L^(-1/4) in the L residual blocks. The last layer of each block is
    initialised to 0. For 256x256, the paper has 96 channels at the image's size (`width` 96), and twice as many at each
    smaller size, up to 768. For 32x32 and 64x64, all sizes have 768 channels. For ImageNet, all sizes have 1,536
    channels (`width` and `max_width` 1536).

    Here tanh follows the last convolution, because images are in [-1, 1]. With `class_embedding`, G gets z and an
    embedding of the class. The discriminator `r3gan` uses classes if G uses them. The setting `normalization.generator`
    applies to the first two convolutions of a block (paper: none).

    Images may have any size of at least 4x4. The image's height and width are halved and rounded up until the smaller
    one is at most 4. This gives the sizes of the feature maps.

    When to use: with the discriminator `r3gan`, the trick `relativistic`, and the penalties `r1` and `r2`, for long
    runs without other tricks.
    When not: for a first quick run; use `dcgan`, which has one convolution at each size instead of six.
    """

    name = "r3gan"
    kind = "generator"
    mixes_classes = True

    class Config(Architecture):
        class_embedding: int = Field(
            0, ge=0, description="numbers that embed the class, appended to z; 0: G does not use classes"
        )

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if self.config.class_embedding:
            require_labels(spec, "class_embedding of r3gan", "class_embedding = 0")
            spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return R3ganGeneratorNetwork(spec, self.config)
