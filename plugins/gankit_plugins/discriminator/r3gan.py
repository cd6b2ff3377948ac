"""R3GAN's discriminator (Huang 2024)."""

from __future__ import annotations

from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Spec, hookimpl
from gankit_plugins.layers.conditioning import refuse_other_conditions
from gankit_plugins.layers.dcgan import Size
from gankit_plugins.layers.r3gan import Architecture, Downsampling, changed_width, he, pointwise, stages


class FullSizeConv(nn.Conv2d):
    """Depthwise convolution without biases that computes a weighted sum of all pixels for each channel.

    For the second derivatives of a grouped convolution, which R1 and R2 need, PyTorch calls one convolution for each
    group. A product and a sum are much faster.
    """

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__(channels, channels, size, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the weighted sum of each channel of x (B, C, H, W). Return the sums (B, C, 1, 1)."""
        return (x * self.weight[:, 0]).sum((2, 3), keepdim=True)


class R3ganDiscriminatorNetwork(nn.Module):
    """Network of residual blocks, a depthwise convolution that covers the last feature map, and a linear layer."""

    def __init__(self, spec: Spec, config: Architecture) -> None:
        super().__init__()
        levels = list(stages(spec, "discriminator", config))
        size, channels, blocks = levels[0]
        layers = [pointwise(spec.channels, channels), *blocks]
        for smaller, after, blocks in levels[1:]:
            layers += [Downsampling(size), *changed_width(channels, after), *blocks]
            size, channels = smaller, after
        self.body = nn.Sequential(*layers, he(FullSizeConv(channels, size)), nn.Flatten())
        self.embedding = None
        if spec.conditional:
            self.embedding = nn.Embedding(spec.classes, channels)
            # With this standard deviation, the inner product of an embedding and a vector has the same variance as the
            # components of the vector.
            nn.init.normal_(self.embedding.weight, std=channels**-0.5)
        self.head = he(nn.Linear(channels, 1 if self.embedding is None else channels, bias=False))

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W) and labels (B,).

        Labels are unused if the generator does not use classes.
        """
        features = self.body(images)
        y = self.head(features)
        if self.embedding is not None:
            assert condition is not None, "a conditional discriminator needs labels"
            y = self.embedding(condition).to(y.dtype) * y
        return DiscriminatorOutput(y.sum(1), features)


class R3ganDiscriminator(Plugin):
    """R3GAN's discriminator: residual blocks of 1x1 and grouped 3x3 convolutions, without normalisation.

    Source: Huang 2024, section 4, configuration E. The network is the mirror image of the generator `r3gan` and has the
    same settings. It begins with a 1x1 convolution of the image. Each size has two residual blocks. Bilinear
    downsampling between two sizes uses the filter (1, 3, 3, 1) / 8 in each direction. At the end, a depthwise
    convolution reduces each 4x4 feature map to one number, and a linear layer maps these numbers to one logit. Only
    residual blocks have biases.

    If the generator uses classes, the linear layer has as many outputs as inputs. The logit is then the inner product
    of this layer's output and an embedding of the class (Miyato and Koyama 2018, equation 4, without the second term).
    The setting `normalization.discriminator` applies to the first two convolutions of a block (paper: none).

    Images may have any size of at least 4x4.

    When to use: with the generator `r3gan`, the trick `relativistic`, and the penalties `r1` and `r2`.
    When not: with the trick `projection`, which would add a second inner product. For a first quick run, use `dcgan`,
    which is faster.
    """

    name = "r3gan"
    kind = "discriminator"

    class Config(Architecture):
        pass

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        if spec.conditional:
            refuse_other_conditions(spec, self.name)
        return R3ganDiscriminatorNetwork(spec, self.config)
