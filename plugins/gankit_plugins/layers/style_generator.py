"""Generator with a mapping network, style mixing and truncation, and its settings."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import require_numbers
from gankit_plugins.layers.mapping import MappingNetwork
from gankit_plugins.layers.square_sizes import CHANNEL_BASE


def truncate_styles(ws: Tensor, w_mean: Tensor, psi: float, count: int | None) -> Tensor:
    """Return w of each layer, truncated in the first `count` layers: `w_mean + psi * (w - w_mean)`.

    Source: Karras 2018, appendix B.

    Args:
        ws: style vector w of each layer, (B, L, W).
        w_mean: mean of w over the prior, (W,).
        psi: truncation factor; 1 leaves w unchanged, and 0 gives the mean.
        count: number of layers with truncation, starting with the smallest feature maps; None for all layers.
    """
    centre = w_mean.to(ws.dtype)
    truncated = centre + psi * (ws - centre)
    return truncated if count is None else torch.cat([truncated[:, :count], ws[:, count:]], dim=1)


def mix_styles(ws: Tensor, others: Tensor, probability: float) -> Tensor:
    """Mix styles: in random images, replace `ws` by `others` from a random layer to the last layer.

    The random layer is drawn for each image, uniformly from all layers except the first one.

    Args:
        ws: style vector w of each layer, (B, L, W).
        others: other style vector of each layer, (B, L, W).
        probability: probability that an image is mixed.

    Source: Karras 2018, section 3.1.
    """
    count, layers, _ = ws.shape
    crossover = torch.randint(1, layers, (count, 1), device=ws.device)
    mixed = torch.rand(count, 1, device=ws.device) < probability
    from_other = (torch.arange(layers, device=ws.device) >= crossover) & mixed
    return torch.where(from_other[:, :, None], others, ws)


class Synthesis(nn.Module):
    """Base class of synthesis networks, which map the style vectors w of all layers to images."""

    layers: int
    """L, number of layers that take a style vector w. The first layer has the smallest feature maps."""

    @abstractmethod
    def forward(self, ws: Tensor) -> Tensor:
        """Return images (B, C, H, W) for style vectors (B, L, W). In evaluation mode, pixel values are in [-1, 1]."""


class StyleGenerator(nn.Module):
    """Style-based generator: a mapping network from z to the style vector w, and a synthesis network from w to images.

    The plugins `path_length` and `style_mixing` need a generator of this class.

    Args:
        mapping: mapping network from z (B, latent_size) and the condition to w (B, W), with the attribute `w_mean`.
        synthesis: network that maps one w for each layer, (B, L, W), to images.
        psi: truncation factor. In evaluation mode, w becomes `w_mean + psi * (w - w_mean)`.
        psi_layers: number of layers with truncation, starting with the first layer; None for all layers.
    """

    def __init__(
        self, mapping: MappingNetwork, synthesis: Synthesis, psi: float = 1.0, psi_layers: int | None = None
    ) -> None:
        super().__init__()
        self.mapping = mapping
        self.synthesis = synthesis
        self.psi = psi
        self.psi_layers = psi_layers
        self.mixing = 0.0
        """Probability of style mixing in training mode. The trick `style_mixing` sets it."""

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return images (B, C, H, W) for z (B, latent_size) and labels (B,), vectors (B, N) or None.

        In training mode, pixel values may lie outside [-1, 1]. In evaluation mode, they are clamped to [-1, 1].
        """
        return self.synthesize(self.styles(z, condition))

    @property
    def style_layers(self) -> int:
        """L, number of layers that take a style vector."""
        return self.synthesis.layers

    def map_latent(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return w before style mixing and truncation, (B, W), for z (B, latent_size) and the condition."""
        return self.mapping(z, condition)

    def synthesize(self, ws: Tensor) -> Tensor:
        """Return images (B, C, H, W) for the style vectors of each layer, (B, L, W)."""
        return self.synthesis(ws)

    def styles(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return w for each layer, (B, L, W), after style mixing in training mode or truncation in evaluation mode."""
        ws = self._same_in_all_layers(z, condition)
        if self.training and self.mixing:
            # Style mixing needs a second z. Use the z of another image of the batch, because a network cannot draw from
            # the recipe's prior.
            return mix_styles(ws, self._same_in_all_layers(z.roll(1, 0), condition), self.mixing)
        if not self.training and self.psi != 1:
            return truncate_styles(ws, self.mapping.w_mean, self.psi, self.psi_layers)
        return ws

    def _same_in_all_layers(self, z: Tensor, condition: Tensor | None) -> Tensor:
        return self.map_latent(z, condition)[:, None].expand(-1, self.style_layers, -1)


def require_style_generator(network: nn.Module, owner: str) -> StyleGenerator:
    """Return the network if it is a `StyleGenerator`, which the plugin `owner` needs. Otherwise raise an InputError."""
    if isinstance(network, StyleGenerator):
        return network
    raise InputError(
        f"{owner} needs a generator with a mapping network, and the generator is a {type(network).__name__}; use "
        "stylegan or stylegan2, without tricks that wrap the generator"
    )


class StyleGeneratorSettings(Settings):
    """Settings of a plugin that builds a `StyleGenerator`."""

    w_size: int = Field(512, ge=1, description="length of w, and units of each layer of the mapping network")
    mapping_layers: int = Field(8, ge=1, description="number of layers of the mapping network")
    channel_base: int = Field(32768, ge=1, description=CHANNEL_BASE)
    max_channels: int = Field(512, ge=1, description="largest number of channels of a feature map")
    conditional: bool = Field(False, description="generate requested classes or attributes")
    noise: bool = Field(True, description="add noise after each convolution")
    psi: float = Field(1.0, description="truncation of w when samples are drawn: 0 is the mean of w, 1 no truncation")
    psi_layers: int | None = Field(
        None, ge=0, description="layers in which w is truncated, from 4x4 on; all if left out"
    )


class StyleGeneratorPlugin(Plugin):
    """Base class of plugins that build a `StyleGenerator`."""

    kind = "generator"
    mixes_classes = True
    sampling_ranges = {"psi": (0.0, 1.0)}
    Config = StyleGeneratorSettings
    config: StyleGeneratorSettings

    @abstractmethod
    def synthesis(self, spec: Spec) -> Synthesis:
        """Return a synthesis network with the plugin's settings."""

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if self.config.conditional:
            require_numbers(spec, f"{self.name} with conditional = true", "conditional = false")
            spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        c = self.config
        numbers = require_numbers(spec, self.name, "conditional = false") if c.conditional else 0
        mapping = MappingNetwork(spec.latent_size, c.w_size, c.mapping_layers, numbers)
        return StyleGenerator(mapping, self.synthesis(spec), c.psi, c.psi_layers)
