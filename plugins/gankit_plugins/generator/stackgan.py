"""StackGAN's generators: a first image from a text, and a larger image from the first one and the text (Zhang 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import InputError, LossTerm, Player, Plugin, RecipeInfo, Run, Scheduled, Settings, Spec, Step, hookimpl
from gankit_plugins.layers.dcgan import initialized
from gankit_plugins.layers.residual import ResidualBlock
from gankit_plugins.layers.stackgan import convolution, down_block, sizes_of, up_block
from gankit_plugins.layers.text import ConditioningAugmentation, condition_encoder, divergence

SIDE, WIDEST = 4, 8
"""Side of the first feature map in pixels, and its number of channels as a multiple of `width`."""


class TextCondition(nn.Module):
    """Encoder of a text, and conditioning augmentation: the text as a random vector (B, size)."""

    def __init__(self, spec: Spec, owner: str, text_size: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.text = condition_encoder(spec, owner, text_size)
        self.augmentation = ConditioningAugmentation(self.text.size, size)

    def forward(self, condition: Tensor, epsilon: Tensor) -> Tensor:
        return self.augmentation(self.text(condition), epsilon)

    def divergence(self, condition: Tensor) -> Tensor:
        """Return the mean divergence of the random vectors from N(0, I), a scalar in nats (Zhang 2017, equation 2)."""
        mean, log_deviation = self.augmentation.parameters_of(self.text(condition))
        return divergence(mean.float(), log_deviation.float())


class StackGanGenerator(nn.Module):
    """Network of stage 1, which maps z and a text to an image.

    The last numbers of z are the random numbers epsilon of the conditioning augmentation.
    """

    def __init__(self, spec: Spec, width: int, text_size: int, condition_size: int, owner: str = "stackgan") -> None:
        super().__init__()
        self.noise_size = noise_size(spec, condition_size, owner)
        sizes = sizes_of(spec.image_size(owner), SIDE, 1)
        self.condition = TextCondition(spec, owner, text_size, condition_size)
        self.first_size, channels = sizes[-1], WIDEST * width
        units = channels * math.prod(self.first_size)
        linear = initialized(nn.Linear(spec.latent_size, units))
        self.project = nn.Sequential(spec.normalize("generator", linear, units), nn.ReLU())
        blocks = []
        for size in reversed(sizes[:-1]):
            fewer = max(1, channels // 2)
            blocks.append(up_block(spec, channels, fewer, size))
            channels = fewer
        self.body = nn.Sequential(*blocks)
        self.to_image = nn.Sequential(initialized(nn.Conv2d(channels, spec.channels, 3, padding=1)), nn.Tanh())

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and a condition, such as tokens (B, T)."""
        assert condition is not None, "a conditional generator needs a condition"
        noise, epsilon = z[:, : self.noise_size], z[:, self.noise_size :]
        text = self.condition(condition, epsilon)
        maps = self.project(torch.cat([text, noise.to(text.dtype)], 1)).unflatten(1, (-1, *self.first_size))
        return self.to_image(self.body(maps))


class StackGan2Generator(nn.Module):
    """Network of stage 2, which maps the image of stage 1 and a text to a larger image.

    The network of stage 1 is frozen. The last numbers of z are the epsilon of stage 2's conditioning augmentation, and
    the rest is the z of stage 1.
    """

    def __init__(self, spec: Spec, config: StackGan2.Config) -> None:
        super().__init__()
        c, owner = config, "stackgan2"
        first_latent = noise_size(spec, c.condition_size, owner)
        sizes = sizes_of(spec.image_size(owner), c.joint_side, c.halvings)
        first = replace(spec, shape=(spec.channels, *sizes[c.halvings]), latent_size=first_latent)
        self.stage1 = StackGanGenerator(first, c.stage1_width, c.text_size, c.condition_size, owner)
        self.stage1.requires_grad_(False).eval()
        self.condition = TextCondition(spec, owner, c.text_size, c.condition_size)
        width = c.width
        encoder: list[nn.Module] = [initialized(nn.Conv2d(spec.channels, width, 3, padding=1)), nn.ReLU()]
        for size in sizes[c.halvings : -1]:
            encoder.append(down_block(spec, "generator", width, 2 * width, size))
            width *= 2
        self.encoder = nn.Sequential(*encoder)
        self.joint = convolution(spec, width + c.condition_size, width)
        self.residual = nn.Sequential(*(residual_block(spec, width) for _ in range(c.blocks)))
        blocks = []
        for size in reversed(sizes[:-1]):
            fewer = max(1, width // 2)
            blocks.append(up_block(spec, width, fewer, size))
            width = fewer
        self.decoder = nn.Sequential(*blocks)
        self.to_image = nn.Sequential(initialized(nn.Conv2d(width, spec.channels, 3, padding=1)), nn.Tanh())
        self.first_latent = first_latent

    def train(self, mode: bool = True) -> StackGan2Generator:
        """Set the training mode of stage 2. The frozen network of stage 1 stays in evaluation mode."""
        super().train(mode)
        self.stage1.eval()
        return self

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) in [-1, 1] from z (B, latent_size) and a condition, such as tokens (B, T)."""
        assert condition is not None, "a conditional generator needs a condition"
        first = self.stage1(z[:, : self.first_latent], condition)
        text = self.condition(condition, z[:, self.first_latent :])
        maps = self.encoder(first)
        planes = text[:, :, None, None].to(maps.dtype).expand(-1, -1, *maps.shape[2:])
        return self.to_image(self.decoder(self.residual(self.joint(torch.cat([maps, planes], 1)))))


def residual_block(spec: Spec, width: int) -> nn.Module:
    """Return a residual block of two normalised 3x3 convolutions, with ReLU after the first one and after the sum."""
    second = spec.normalize("generator", initialized(nn.Conv2d(width, width, 3, padding=1)), width)
    block = ResidualBlock(nn.Sequential(convolution(spec, width, width), second), nn.Identity())
    return nn.Sequential(block, nn.ReLU())


def noise_size(spec: Spec, condition_size: int, owner: str) -> int:
    """Return the size of z without the random numbers of the conditioning augmentation.

    Raises:
        InputError: z is too small.
    """
    if spec.latent_size <= condition_size:
        raise InputError(
            f"{owner}: z has {spec.latent_size} numbers, and the conditioning augmentation needs {condition_size} of "
            "them; set a larger latent.size, or a smaller generator.condition_size"
        )
    return spec.latent_size - condition_size


class StackGan(Plugin):
    """StackGAN's generator of stage 1: a small image from a text, with conditioning augmentation.

    Source: Zhang 2017, sections 3.2 to 3.4. The text becomes a random vector of Ng = 128 numbers from N(mu, sigma^2),
    where mu and sigma are functions of the text. This vector and z (Nz = 100) are mapped to a feature map of 4x4
    pixels. Each of the following blocks has nearest-neighbour upsampling and a 3x3 convolution. ReLU follows each layer
    except the last one, and tanh follows the last one. The setting `normalization.generator` applies to the same layers
    (paper: batch norm). G's loss has the divergence of the random vectors from N(0, I) as the term
    `condition_divergence` (equation 2, with weight lambda = 1 in equation 4).

    The numbers epsilon in mu + sigma * epsilon are the last `condition_size` numbers of z. So `latent.size` is
    Nz + Ng = 228 for the paper's sizes, and equal z give equal images. The paper uses the sentence embeddings of a
    trained encoder. Here, the encoder is a convolution over the words that G learns (Kim 2014). Numbers, such as
    sentence embeddings, and classes are used directly. The paper does not give the numbers of channels. Here, the first
    feature map has 8 times `width` channels, and each block halves them, as in DCGAN.

    When to use: for images of a requested text, with the discriminator `stackgan`. Larger images come from `stackgan2`.
    When not: for images without a condition; use `dcgan`.
    """

    name = "stackgan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the first feature map, divided by 8")
        text_size: int = Field(128, ge=1, description="features of a text, if the condition is a text")
        condition_size: int = Field(128, ge=1, description="Ng: size of the random vector of a text")
        divergence_weight: Scheduled = Field(1.0, ge=0, description="lambda: weight of the divergence in G's loss")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("latent") != "normal":
            yield "the random numbers of the conditioning augmentation are part of z; set latent.use to normal"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        condition_encoder(spec, self.name, self.config.text_size)
        spec.conditional = True

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        c = self.config
        return StackGanGenerator(spec, c.width, c.text_size, c.condition_size)

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player == "discriminator":
            return
        (text,) = (
            module
            for name, module in run.generator.named_modules()
            if isinstance(module, TextCondition) and "stage1" not in name.split(".")
        )

        def term(step: Step) -> Tensor:
            assert step.condition is not None, "adjust_spec refuses data without a condition"
            return text.divergence(step.condition)

        yield LossTerm("condition_divergence", term, self.config.divergence_weight)


class StackGan2(StackGan):
    """StackGAN's generator of stage 2: a larger image from the image of stage 1 and the same text.

    Source: Zhang 2017, sections 3.3 and 3.4. The trained generator of stage 1 is frozen. Convolutions with kernel 4 and
    stride 2 reduce its image to Mg = 16 pixels, and the text's random vector of stage 2 is appended to each pixel. A
    3x3 convolution, residual blocks (4 for images of 256x256, 2 for 128x128) and upsampling blocks follow. The term
    `condition_divergence` is that of stage 2.

    The weights of stage 1 are read from its run: `[init] generator = RUN` and `[init.map.generator] "" = "stage1"`. Its
    settings are `stage1_width`, `text_size` and `condition_size`. `latent.size` is that of stage 1 plus
    `condition_size`, because z also has the epsilon of stage 2's random vector. As in `stackgan`, the paper does not
    give the numbers of channels. Here, each halving doubles `width`, and each upsampling block halves the channels.

    When to use: after `stackgan`, with the discriminator `stackgan`, for larger images and more details.
    When not: without a trained stage 1.
    """

    name = "stackgan2"

    class Config(StackGan.Config):
        width: int = Field(128, ge=1, description="channels of the encoder's first feature map")
        stage1_width: int = Field(128, ge=1, description="setting `width` of stage 1")
        halvings: int = Field(2, ge=1, le=5, description="halvings of the image's side to that of stage 1")
        joint_side: int = Field(16, ge=1, description="Mg: side in pixels at which image and text are joined")
        blocks: int = Field(4, ge=1, description="residual blocks")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        yield from super().check_recipe(recipe)
        if "generator" not in recipe.to_dict().get("init", {}):
            yield "stage 1 has random weights and is frozen; set init.generator to a run of stage 1"

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return StackGan2Generator(spec, self.config)
