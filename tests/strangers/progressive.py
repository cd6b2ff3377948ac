"""Progressive growing of a GAN (Karras 2017), for gankit.

Both networks have a buffer `progress`: k + alpha means that level k is complete and level k + 1 fades in with alpha.
Images keep the full size. G upsamples the output of a level, and D averages its input down to the size of a level.
"""

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, InputError, Plugin, Settings, hookimpl


def progress_at(iteration: int, stable: int, fade: int, levels: int) -> float:
    """Return k + alpha: each level is trained for `stable` iterations, then the next one fades in for `fade`."""
    level, rest = divmod(iteration, stable + fade)
    return min(level + max(0, rest - stable) / fade, float(levels - 1))


def enlarge(images: Tensor, factor: int) -> Tensor:
    """Repeat each pixel of (B, C, h, w): (B, C, factor h, factor w)."""
    return images.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def shrink(images: Tensor, factor: int) -> Tensor:
    """Average squares of pixels of (B, C, h, w): (B, C, h / factor, w / factor)."""
    return F.avg_pool2d(images, factor)


def faded(small: Tensor, large: Tensor, alpha: float) -> Tensor:
    """Return (1 - alpha) small + alpha large (Karras 2017, figure 2b)."""
    return (1 - alpha) * small + alpha * large


def seen(images: Tensor, progress: float, levels: int) -> Tensor:
    """Return real images (B, C, H, W) with the detail of the present levels (Karras 2017, figure 2)."""
    level, alpha = int(progress), progress % 1
    large = blurred(images, levels - 1 - min(level + 1, levels - 1))
    return faded(blurred(images, levels - 1 - level), large, alpha) if alpha else blurred(images, levels - 1 - level)


def blurred(images: Tensor, halvings: int) -> Tensor:
    """Halve the sides of images and enlarge them again."""
    return enlarge(shrink(images, 2**halvings), 2**halvings)


class EqualConv(nn.Conv2d):
    """3x3 or 1x1 convolution whose weights are scaled at run time (Karras 2017, section 4.1)."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.scale = math.sqrt(2 / (inputs * kernel**2))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class PixelNorm(nn.Module):
    """b = a / sqrt(mean over channels of a^2 + 1e-8) (Karras 2017, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def levels_of(size: tuple[int, int], base: int, owner: str) -> int:
    """Return the number of levels from base x base to the size of the images."""
    levels = int(math.log2(max(size[0] // base, 1))) + 1
    if size != (base * 2 ** (levels - 1),) * 2:
        raise InputError(f"{owner} needs square images whose side is {base} times a power of two, not {size}")
    return levels


class Growing(nn.Module):
    """A network with the state of the growth."""

    progress: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("progress", torch.zeros((), dtype=torch.float64))

    def level_and_alpha(self) -> tuple[int, float]:
        """Return k and alpha."""
        progress = self.progress.item()
        return int(progress), progress % 1


class GrowingGenerator(Growing):
    """G with an output at each level."""

    def __init__(self, spec, levels: int, base: int, width: int) -> None:
        super().__init__(levels)
        self.base = base
        self.first = EqualConv(spec.latent_size, width * base**2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(EqualConv(width, width, 3), nn.LeakyReLU(0.2), PixelNorm()) for _ in range(levels)
        )
        self.to_image = nn.ModuleList(EqualConv(width, spec.channels, 1) for _ in range(levels))

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for z (B, latent_size); labels are unused."""
        level, alpha = self.level_and_alpha()
        x = self.blocks[0](self.first(z[:, :, None, None]).view(len(z), -1, self.base, self.base))
        for block in self.blocks[1 : level + 1]:
            x = block(enlarge(x, 2))
        image = self.to_image[level](x).tanh()
        if alpha:
            level += 1
            image = faded(enlarge(image, 2), self.to_image[level](self.blocks[level](enlarge(x, 2))).tanh(), alpha)
        return enlarge(image, 2 ** (self.levels - 1 - level))


class GrowingDiscriminator(Growing):
    """D with an input at each level."""

    def __init__(self, spec, levels: int, base: int, width: int) -> None:
        super().__init__(levels)
        self.from_image = nn.ModuleList(EqualConv(spec.channels, width, 1) for _ in range(levels))
        self.blocks = nn.ModuleList(nn.Sequential(EqualConv(width, width, 3), nn.LeakyReLU(0.2)) for _ in range(levels))
        self.head = nn.Linear(width * base**2, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W); labels are unused."""
        level, alpha = self.level_and_alpha()
        x = self.enter(images, level)
        if alpha:
            x = faded(x, shrink(self.blocks[level + 1](self.enter(images, level + 1)), 2), alpha)
        for k in range(level, 0, -1):
            x = shrink(self.blocks[k](x), 2)
        features = self.blocks[0](x).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)

    def enter(self, images: Tensor, level: int) -> Tensor:
        """Return the features of the images at the size of a level."""
        return F.leaky_relu(self.from_image[level](shrink(images, 2 ** (self.levels - 1 - level))), 0.2)


class Size(Settings):
    """Settings of both networks."""

    base: int = Field(8, ge=2, description="side of the images of the first level")
    width: int = Field(16, ge=1, description="channels of all feature maps")


class ProgressiveGenerator(Plugin):
    """Generator that grows, with an output at each resolution.

    Source: Karras 2017, section 2 and figure 2; sections 4.1 and 4.2. It has one convolution at each level,
    and tanh after it (paper: linear), because images are in [-1, 1].

    When to use: with the discriminator and the trick of this file.
    When not: without the trick `progressive_growth`: it then stays at the first level.
    """

    name = "progressive_generator"
    kind = "generator"
    Config = Size

    @hookimpl
    def build_generator(self, spec):
        levels = levels_of(spec.image_size(self.name), self.config.base, self.name)
        return GrowingGenerator(spec, levels, self.config.base, self.config.width)


class ProgressiveDiscriminator(Plugin):
    """Discriminator that grows, with an input at each resolution.

    Source: Karras 2017, section 2 and figure 2; real images fade between two resolutions, too.

    When to use: with the generator and the trick of this file.
    When not: without the trick `progressive_growth`: it then stays at the first level.
    """

    name = "progressive_discriminator"
    kind = "discriminator"
    Config = Size

    @hookimpl
    def build_discriminator(self, spec):
        levels = levels_of(spec.image_size(self.name), self.config.base, self.name)
        self.network = GrowingDiscriminator(spec, levels, self.config.base, self.config.width)
        return self.network

    @hookimpl
    def discriminator_inputs(self, images, condition, source):
        if source == "real":
            images = seen(images, self.network.progress.item(), self.network.levels)
        return images, condition


class ProgressiveGrowth(Plugin):
    """Growth of both networks: a level is trained, then the next one fades in.

    Source: Karras 2017, section 2 and appendix A: 800k images for each, here in iterations.

    When to use: with the networks of this file.
    When not: with any other network.
    """

    name = "progressive_growth"

    class Config(Settings):
        stable: int = Field(1000, ge=1, description="iterations of a complete level")
        fade: int = Field(1000, ge=1, description="iterations in which a level fades in")

    config: Config

    @hookimpl
    def before_iteration(self, run):
        for network in run.networks.values():
            for module in network.modules():
                # Not isinstance(module, Growing): a test that names one plugin of this file by path imports it twice.
                if isinstance(getattr(module, "progress", None), Tensor):
                    progress = progress_at(run.iteration, self.config.stable, self.config.fade, module.levels)
                    module.progress.fill_(progress)
                    self.progress = progress

    @hookimpl
    def log_values(self):
        return {"progress": self.progress}
