"""A small style-based generator with truncation in w, for gankit."""

from itertools import pairwise

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gankit import InputError, Plugin, Settings, hookimpl


def adain(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return scale (x - mean) / std + shift, with the statistics of each channel of each image.

    x is (B, C, H, W). scale and shift are (B, C).

    Source: Karras 2018, equation 1.
    """
    return scale[..., None, None] * F.instance_norm(x) + shift[..., None, None]


def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    """Return mean + psi (w - mean), with the shape of w, (B, W). mean is (W,).

    Source: Karras 2018, appendix B.
    """
    return mean + psi * (w - mean)


class Mapping(nn.Module):
    """Mapping network from z, (B, Z), to w, (B, W).

    Source: Karras 2018, section 2 and appendix C: z is normalised to a mean square of 1.
    """

    def __init__(self, latent_size: int, style_size: int, depth: int) -> None:
        super().__init__()
        sizes = [latent_size] + [style_size] * depth
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise(sizes):
            self.layers.extend([nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)])

    def forward(self, z: Tensor) -> Tensor:
        """Return w, (B, W), for z, (B, Z)."""
        return self.layers(z * z.square().mean(1, keepdim=True).add(1e-8).rsqrt())


class Styled(nn.Module):
    """Convolution, noise, leaky ReLU and AdaIN.

    Source: Karras 2018, figure 1b.
    """

    def __init__(self, inputs: int, features: int, style_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, features, 3, padding=1)
        self.noise = nn.Parameter(torch.zeros(features, 1, 1))
        self.style = nn.Linear(style_size, 2 * features)
        with torch.no_grad():
            self.style.bias.copy_(torch.tensor([1.0, 0.0]).repeat_interleave(features))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Return features (B, C, H, W) for x, (B, inputs, H, W), and w, (B, W)."""
        x = self.conv(x)
        x = x + self.noise * torch.randn_like(x[:, :1])
        return adain(F.leaky_relu(x, 0.2), *self.style(w).chunk(2, 1))


class StyleNetwork(nn.Module):
    """Mapping and synthesis network. Only in evaluation mode, w is truncated.

    Source: Karras 2018, figure 1b.
    """

    w_mean: Tensor

    def __init__(
        self, resolution: int, channels: int, latent_size: int, width: int, style_size: int, depth: int, psi: float
    ) -> None:
        super().__init__()
        self.psi = psi
        self.mapping = Mapping(latent_size, style_size, depth)
        self.register_buffer("w_mean", torch.zeros(style_size))
        self.constant = nn.Parameter(torch.randn(width, 4, 4))
        levels = (resolution // 4).bit_length()  # 4x4, 8x8, ..., resolution
        self.blocks = nn.ModuleList(Styled(width, width, style_size) for _ in range(levels))
        self.to_image = nn.Conv2d(width, channels, 1)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images (B, C, H, W) in [-1, 1] for z, (B, Z). The labels are not used."""
        w = self.mapping(z)
        if not self.training:
            w = truncate(w, self.w_mean, self.psi)
        x = self.constant.expand(len(z), -1, -1, -1)
        for level, block in enumerate(self.blocks):
            if level > 0:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(x, w)
        return self.to_image(x).tanh()

    @torch.no_grad()
    def observe(self, w: Tensor, decay: float) -> None:
        """Move the running mean of w towards `w`, (W,).

        Source: Karras 2018, appendix B; the decay is that of the authors' code.
        """
        self.w_mean.lerp_(w, 1 - decay)


class Style(Plugin):
    """Style-based generator with a mapping network, AdaIN and truncation in w (StyleGAN).

    Source: Karras 2018, figure 1b, equation 1 and appendix B. The mean of w is a running mean, updated after each G
    step and saved with the generator. Truncation acts on image grids, metrics and samples, and never on the training.
    Left out: progressive growing, style mixing, blur and the equalised learning rate.

    When to use: to trade variety for quality when samples are drawn: `gankit sample FILE generator.psi=0.5`.
    When not: for images with classes, which this generator does not use.
    """

    name = "style"
    kind = "generator"

    class Config(Settings):
        width: int = Field(32, ge=1, description="number of channels of each layer")
        style_size: int = Field(32, ge=1, description="size of w")
        depth: int = Field(4, ge=1, description="number of layers of the mapping network")
        decay: float = Field(0.995, ge=0, lt=1, description="decay of the running mean of w, per G step")
        psi: float = Field(1.0, ge=0, description="truncation of samples: 1 for none, 0 for the mean of w")

    config: Config

    @hookimpl
    def build_generator(self, spec):
        height, width = spec.image_size(self.name)
        if height != width or height < 4 or height & (height - 1):
            raise InputError(f"generator.use: style needs images of 4x4, 8x8, 16x16, ..., not {height}x{width}")
        self.network = StyleNetwork(
            height,
            spec.channels,
            spec.latent_size,
            self.config.width,
            self.config.style_size,
            self.config.depth,
            self.config.psi,
        )
        return self.network

    @hookimpl
    def after_g_step(self, run, step):
        with torch.no_grad():
            w = self.network.mapping(step.z).mean(0)
        self.network.observe(run.ranks.mean(w), self.config.decay)
