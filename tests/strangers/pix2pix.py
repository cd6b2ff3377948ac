"""pix2pix: image-to-image translation with pairs (source, target), for gankit.

z is the source image, flattened. `draw_step` computes it from the target of a batch; `sample_latent` draws a new one.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gankit import Dataset, DiscriminatorOutput, InputError, LossTerm, Plugin, Settings, Step, hookimpl

COLOURS = ((1.0, -0.5, -1.0), (-1.0, 0.2, 1.0))  # of squares, of circles


def draw_sources(
    count: int, side: int, device: torch.device, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return white shapes on black, (count, 1, side, side) in [-1, 1], and their kinds (count,): 0 square, 1 circle."""
    random = torch.rand(4, count, 1, 1, device=device, generator=generator)
    y, x = (0.35 + 0.3 * random[:2]) * side
    radius = (0.15 + 0.2 * random[2]) * side
    kind = (random[3] < 0.5).long()
    grid = torch.arange(side, device=device) + 0.5
    dy, dx = (grid.view(-1, 1) - y).abs(), (grid - x).abs()
    distance = torch.where(kind == 0, torch.maximum(dy, dx), torch.hypot(dy, dx))
    return ((distance <= radius).float() * 2 - 1).unsqueeze(1), kind.flatten()


def target_of(source: Tensor, kinds: Tensor) -> Tensor:
    """Return the colour images (B, 3, R, R) of sources (B, 1, R, R): a shape gets the colour of its kind."""
    colours = torch.tensor(COLOURS, device=source.device)[kinds].view(-1, 3, 1, 1)
    return torch.where(source > 0, colours, -torch.ones_like(colours))


def source_of(target: Tensor) -> Tensor:
    """Return the grey sources (B, 1, R, R) of colour images (B, C, H, W): the largest channel."""
    return target.amax(1, keepdim=True)


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
        return Dataset((3, self.config.side, self.config.side), (), self.read)

    def read(self) -> tuple[Tensor, None]:
        generator = torch.Generator().manual_seed(0)
        return target_of(*draw_sources(self.config.count, self.config.side, torch.device("cpu"), generator)), None


class SourceImages(Plugin):
    """Source images as z: of the real images in training, newly drawn ones for samples.

    Source: Isola 2017, section 3: G maps an observed image x, without other z, to y.

    When to use: with the generator and the discriminator of pix2pix.
    When not: with a generator of vectors z.
    """

    name = "source_images"
    kind = "latent"

    class Config(Settings):
        side: int = Field(16, ge=8, description="height and width of the images in pixels")

    config: Config

    @hookimpl
    def adjust_spec(self, spec):
        if spec.image_size(self.name) != (self.config.side, self.config.side):
            raise InputError(f"latent.side is {self.config.side}, but the images are {spec.image_size(self.name)}")
        spec.latent_size = self.config.side**2

    @hookimpl
    def sample_latent(self, count, device, generator):
        return draw_sources(count, self.config.side, device, generator)[0].flatten(1)

    @hookimpl
    def draw_step(self, run, player):
        target, labels = run.draw_real()
        z = source_of(target).flatten(1)
        return Step(run, player, target, labels, z, fake=run.generator(z, labels).float())

    @hookimpl
    def encode(self, images):
        return source_of(images).flatten(1)


class UNetNetwork(nn.Module):
    """U-Net with two halvings and skip connections."""

    def __init__(self, spec, width: int, dropout: float) -> None:
        super().__init__()
        self.size = spec.image_size("pix2pix_unet")
        self.dropout = nn.Dropout(dropout)

        def down(inputs: int, outputs: int) -> nn.Module:
            return spec.normalize("generator", nn.Conv2d(inputs, outputs, 4, 2, 1), outputs)

        def up(inputs: int, outputs: int) -> nn.Module:
            return spec.normalize("generator", nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), outputs)

        self.down1 = nn.Conv2d(1, width, 4, 2, 1)
        self.down2 = down(width, 2 * width)
        self.up2 = up(2 * width, width)
        self.up1 = nn.ConvTranspose2d(2 * width, spec.channels, 4, 2, 1)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for sources z (B, R * R); labels are unused."""
        half = self.down1(z.view(-1, 1, *self.size))
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
    def build_generator(self, spec):
        return UNetNetwork(spec, self.config.width, self.config.dropout)


class PatchNetwork(nn.Module):
    """Convolutions with a logit for each patch of 18x18 pixels."""

    def __init__(self, spec, width: int) -> None:
        super().__init__()
        self.size = spec.image_size("pix2pix_patch")
        second = nn.Conv2d(width, 2 * width, 4, 2, 1)
        self.features = nn.Sequential(
            nn.Conv2d(1 + spec.channels, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            spec.normalize("discriminator", second, 2 * width),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, images: Tensor, z: Tensor) -> DiscriminatorOutput:
        """Return logits (B, R / 4, R / 4) and features (B, F) of images (B, C, H, W) with sources z (B, R * R)."""
        features = self.features(torch.cat([z.view(-1, 1, *self.size).to(images.dtype), images], 1))
        return DiscriminatorOutput(self.head(features).squeeze(1), features.flatten(1))


class PatchDiscriminator(Plugin):
    """PatchGAN: judges patches of pairs (source, image).

    Source: Isola 2017, section 3.2.2, with patches of 18x18 pixels; equation 1 for the pairs.

    When to use: with the prior of pix2pix.
    When not: with augmentations, which change the image but not its source.
    """

    name = "pix2pix_patch"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(16, ge=1, description="channels of the first feature map")

    config: Config

    @hookimpl
    def adjust_spec(self, spec):
        spec.latent_pairs = True

    @hookimpl
    def build_discriminator(self, spec):
        return PatchNetwork(spec, self.config.width)

    @hookimpl
    def discriminator_inputs(self, images, step):
        return images, step.z


class L1(Plugin):
    """Distance of the generated image from the target, in G's loss.

    Source: Isola 2017, equations 3 and 4, with lambda 100.

    When to use: with the prior of pix2pix, whose real images are the targets.
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
