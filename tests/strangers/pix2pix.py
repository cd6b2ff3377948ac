"""pix2pix: image-to-image translation with pairs (source, target), for gankit. The condition is the source image."""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gankit import Dataset, DiscriminatorOutput, ImageCondition, InputError, LossTerm, Plugin, Settings, Spec, hookimpl

COLOURS = ((1.0, -0.5, -1.0), (-1.0, 0.2, 1.0))  # of squares, of circles


def draw_sources(count: int, side: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Return white shapes on black, (count, 1, side, side) in [-1, 1], and their kinds (count,): 0 square, 1 circle."""
    random = torch.rand(4, count, 1, 1, generator=generator)
    y, x = (0.35 + 0.3 * random[:2]) * side
    radius = (0.15 + 0.2 * random[2]) * side
    kind = (random[3] < 0.5).long()
    grid = torch.arange(side) + 0.5
    dy, dx = (grid.view(-1, 1) - y).abs(), (grid - x).abs()
    distance = torch.where(kind == 0, torch.maximum(dy, dx), torch.hypot(dy, dx))
    return ((distance <= radius).float() * 2 - 1).unsqueeze(1), kind.flatten()


def target_of(source: Tensor, kinds: Tensor) -> Tensor:
    """Return the colour images (B, 3, R, R) of sources (B, 1, R, R): a shape gets the colour of its kind."""
    colours = torch.tensor(COLOURS, device=source.device)[kinds].view(-1, 3, 1, 1)
    return torch.where(source > 0, colours, -torch.ones_like(colours))


def l1(target: Tensor, fake: Tensor) -> Tensor:
    """Return E[|y - G(x)|_1] (Isola 2017, equation 3) as a mean over pixels, a scalar."""
    return (target - fake).abs().float().mean()


class ColourShapes(Plugin):
    """Coloured squares and circles; the colour depends on the shape.

    Source: none, an example of pairs that a rule makes.

    When to use: tests of pix2pix.
    When not: for conclusions about photographs.
    """

    name = "colour_shapes"
    kind = "data"

    class Config(Settings):
        side: int = Field(16, ge=8, description="height and width in pixels")
        count: int = Field(200, ge=2, description="number of images")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        side = self.config.side
        return Dataset((3, side, side), ImageCondition((1, side, side)), self.read)

    def read(self) -> tuple[Tensor, Tensor]:
        source, kinds = draw_sources(self.config.count, self.config.side, torch.Generator().manual_seed(0))
        return target_of(source, kinds), source


def require_sources(spec: Spec, name: str) -> None:
    """Raise InputError if the data have no source images of the size of the images."""
    if not isinstance(spec.condition, ImageCondition) or spec.condition.shape[1:] != spec.image_size(name):
        raise InputError(f"{name} needs pairs of source image and image of one size; choose data with such pairs")


class UNetNetwork(nn.Module):
    """U-Net with two halvings and skip connections. z is unused: the source image decides the image."""

    def __init__(self, spec, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

        def down(inputs: int, outputs: int) -> nn.Module:
            return spec.normalize("generator", nn.Conv2d(inputs, outputs, 4, 2, 1), outputs)

        def up(inputs: int, outputs: int) -> nn.Module:
            return spec.normalize("generator", nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), outputs)

        self.down1 = nn.Conv2d(spec.condition.shape[0], width, 4, 2, 1)
        self.down2 = down(width, 2 * width)
        self.up2 = up(2 * width, width)
        self.up1 = nn.ConvTranspose2d(2 * width, spec.channels, 4, 2, 1)

    def forward(self, z: Tensor, source: Tensor) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for sources (B, C', H, W)."""
        half = self.down1(source)
        quarter = self.down2(F.leaky_relu(half, 0.2))
        up = self.dropout(self.up2(quarter.relu()))
        return self.up1(torch.cat([up, half], 1).relu()).tanh()


class UNet(Plugin):
    """Small U-Net from a grey source image to an image.

    Source: Isola 2017, section 3.2.1 and appendix 6.1.1. In the paper dropout acts in samples, too (section 3.1). Here
    it acts only in the training, because samples from the file of a generator must not depend on torch's random state.

    When to use: if source and target have the same edges.
    When not: for images whose sides are no multiples of 4.
    """

    name = "pix2pix_unet"
    kind = "generator"

    class Config(Settings):
        width: int = Field(16, ge=1, description="channels of the first feature map")
        dropout: float = Field(0.5, ge=0, lt=1, description="proportion of dropped features in training")

    config: Config

    @hookimpl
    def adjust_spec(self, spec):
        require_sources(spec, self.name)
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec):
        return UNetNetwork(spec, self.config.width, self.config.dropout)


class PatchNetwork(nn.Module):
    """Convolutions with a logit for each patch of 18x18 pixels."""

    def __init__(self, spec, width: int) -> None:
        super().__init__()
        second = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.features = nn.Sequential(
            nn.Conv2d(spec.condition.shape[0] + spec.channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            spec.normalize("discriminator", second, 2 * width),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, images: Tensor, source: Tensor) -> DiscriminatorOutput:
        """Return logits (B, H / 4, W / 4) and features (B, F) of images (B, C, H, W) with sources (B, C', H, W)."""
        features = self.features(torch.cat([source.to(images.dtype), images], 1))
        return DiscriminatorOutput(self.head(features).squeeze(1), features.flatten(1))


class PatchDiscriminator(Plugin):
    """PatchGAN: judges patches of pairs (source, image).

    Source: Isola 2017, section 3.2.2, with patches of 18x18 pixels; equation 1 for the pairs.

    When to use: with data of pairs.
    When not: with augmentations, which change the image but not its source.
    """

    name = "pix2pix_patch"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(16, ge=1, description="channels of the first feature map")

    config: Config

    @hookimpl
    def adjust_spec(self, spec):
        require_sources(spec, self.name)

    @hookimpl
    def build_discriminator(self, spec):
        return PatchNetwork(spec, self.config.width)


class L1(Plugin):
    """Distance of the generated image from the target, in G's loss.

    Source: Isola 2017, equations 3 and 4, with lambda 100.

    When to use: with data of pairs, whose real images are the targets.
    When not: without pairs.
    """

    name = "l1_to_target"

    class Config(Settings):
        weight: float = Field(100.0, gt=0, description="lambda, weight of the distance")

    config: Config

    @hookimpl
    def loss_terms(self, player):
        if player == "generator":
            yield LossTerm("l1", lambda step: l1(step.real, step.fake), self.config.weight)
