"""BigGAN's residual generator (Brock 2018)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import Player, Plugin, RecipeInfo, Settings, Spec, hookimpl
from gankit_plugins.generator.sngan import SMALLEST
from gankit_plugins.layers.conditioning import embedded, refuse_other_conditions
from gankit_plugins.layers.latent_parts import part_sizes
from gankit_plugins.layers.modulation import CurrentVectors, Modulation, without_scale_and_shift
from gankit_plugins.layers.residual import WIDEST, ResidualBlock, activated, glorot, sizes_of, up_block


def modulated_block(
    spec: Spec, source: CurrentVectors, vector_size: int, before: int, after: int, size: tuple[int, int]
) -> ResidualBlock:
    """Return an `up_block` whose normalisation layers get their scales and shifts from the vectors in `source`."""

    def normalize(player: Player, layer: nn.Module, features: int) -> nn.Module:
        normalized = without_scale_and_shift(spec.normalize(player, layer, features))
        return nn.Sequential(normalized, Modulation(source, vector_size, features))

    return up_block(replace(spec, normalize=normalize), before, after, size)


class BigGanGenerator(nn.Module):
    """Network of residual blocks. The first part of z is mapped to a small feature map. Each block gets another part.

    Args:
        spec: specification of the images, z and the classes.
        width: channels at the size of the image.
        double_channels: True to double the channels at each smaller size.
        embedding: size of the class embedding, which all blocks share.
    """

    def __init__(self, spec: Spec, width: int, double_channels: bool, embedding: int) -> None:
        super().__init__()
        sizes = sizes_of(spec, "biggan", SMALLEST)
        channels = [width * min(2**level, WIDEST) if double_channels else width for level in range(len(sizes))]
        first, *parts = part_sizes(spec.latent_size, len(sizes))
        self.embedding = nn.Embedding(spec.classes, embedding) if spec.classes else None
        if self.embedding is not None:
            nn.init.orthogonal_(self.embedding.weight)
        shared = embedding if spec.classes else 0
        small = glorot(nn.Linear(first, channels[-1] * math.prod(sizes[-1])))
        self.from_z = nn.Sequential(small, nn.Unflatten(1, (channels[-1], *sizes[-1])))
        self.sources = [CurrentVectors() for _ in parts]
        self.body = nn.Sequential(
            *(
                modulated_block(spec, source, part + shared, channels[level + 1], channels[level], sizes[level])
                for source, part, level in zip(self.sources, parts, reversed(range(len(parts))), strict=True)
            )
        )
        last = glorot(nn.Conv2d(channels[0], spec.channels, 3, padding=1))
        self.to_image = nn.Sequential(activated(spec, "generator", channels[0]), last, nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and the condition.

        The condition is labels (B,) or weights of the classes (B, K). It is unused if there are no classes.
        """
        first, *parts = z.tensor_split(len(self.sources) + 1, dim=1)
        if self.embedding is not None:
            assert condition is not None, "a conditional generator needs labels"
            y = embedded(condition, self.embedding.weight)
            parts = [torch.cat([part, y], 1) for part in parts]
        for source, part in zip(self.sources, parts, strict=True):
            source.vectors = part
        try:
            return self.to_image(self.body(self.from_z(first)))
        finally:
            # Remove the vectors, because they may belong to the autograd graph, and `deepcopy` of this module would
            # fail.
            for source in self.sources:
                source.vectors = None


class BigGan(Plugin):
    """BigGAN's generator: residual blocks. Each block gets its part of z, and all blocks share a class embedding.

    Source: Brock 2018, section 3.2 and appendix B. Table 4 describes the network for 128x128 images. z is split into
    equal parts: six parts of 20 numbers for 128x128. A linear layer maps the first part to the smallest feature map.
    Each block gets a further part. In a block, linear functions of this part and of the class embedding give the scales
    and shifts of the normalisation. These replace the scales and shifts of `normalization.generator` (paper: batch
    norm). The scales are centred at 1. In table 4, the class embedding is also an input of the first layer. This
    implementation leaves out that input, because the number of parameters in table 1 does not include it.

    Three parts of the paper are separate tricks. `self_attention` is the non-local block at 64x64. `spectral_weights`
    adds spectral norm to all layers. `orthogonal_init` gives the paper's initial weights. Without `orthogonal_init`,
    the initial weights are as in `sngan`. For 128x128, the sizes and channels are those of table 4. For larger images,
    the paper has other numbers of channels. For data without classes, a block gets only its part of z.

    Images may have any size of at least 4x4. The image's height and width are halved and rounded up until the smaller
    one is at most 6. This gives the sizes of the feature maps.

    When to use: with the discriminator `biggan` and the trick `projection`, for data with many classes and with large
    batches.
    When not: for a first quick run; use `dcgan`, which has one convolution at each size instead of three.
    """

    name = "biggan"
    kind = "generator"
    mixes_classes = True

    class Config(Settings):
        width: int = Field(96, ge=1, description="channels of the last feature map before the image; ch in the paper")
        double_channels: bool = Field(
            True, description="double the channels at each smaller size, up to 16 times; else all have the same number"
        )
        embedding: int = Field(128, ge=1, description="size of the class embedding that all blocks share")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("normalization.generator") == "conditional_batch_norm":
            raise ValueError(
                "biggan computes the scales and shifts from its own class embedding; set normalization.generator to "
                "batch_norm"
            )
        return ()

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_other_conditions(spec, self.name)
        spec.conditional = bool(spec.classes)

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return BigGanGenerator(spec, self.config.width, self.config.double_channels, self.config.embedding)
