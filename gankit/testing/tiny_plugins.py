"""Small plugins of all kinds that a training run needs. Tests use these plugins instead of installed plugins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from gankit.plugin.base import Plugin, Settings, hookimpl
from gankit.plugin.comparison import Comparison
from gankit.plugin.condition import ClassCondition, Condition, ImageCondition, TokenCondition, VectorCondition
from gankit.plugin.dataset import Dataset
from gankit.plugin.extractor import Extractor, Features
from gankit.plugin.slots import Player
from gankit.plugin.spec import Spec
from gankit.plugin.step import DiscriminatorOutput, LossTerm, Step, match_logits
from gankit.sampling.sampler import truncated


class TinyData(Plugin):
    """Dataset of noise images. The brightness of an image depends on its class, if the images have classes.

    Instead of classes, the dataset can have vectors, tokens or source images as conditions.
    """

    name = "tiny"
    kind = "data"

    class Config(Settings):
        count: int = Field(32, ge=1, description="number of images")
        channels: int = Field(3, ge=1, description="channels of an image")
        resolution: int = Field(8, ge=1, description="height in pixels")
        width: int | None = Field(None, ge=1, description="width in pixels; default: the height")
        classes: int = Field(0, ge=0, le=10, description="number of classes; 0: no labels")
        condition: Literal["vector", "tokens", "image"] | None = Field(
            None, description="a condition instead of classes"
        )

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        conditions: dict[str | None, Condition | None] = {
            "vector": VectorCondition(("brightness", "hue")),
            "tokens": TokenCondition(("dark", "bright", "image"), 3),
            "image": ImageCondition(self.shape),
            None: ClassCondition.of(tuple("abcdefghij"[: self.config.classes])),
        }
        return Dataset(self.shape, conditions[self.config.condition], self.read)

    @property
    def shape(self) -> tuple[int, int, int]:
        c = self.config
        return c.channels, c.resolution, c.width or c.resolution

    def read(self) -> tuple[Tensor, Tensor | None]:
        c = self.config
        generator = torch.Generator().manual_seed(0)
        images = torch.randint(0, 156, (c.count, *self.shape), generator=generator, dtype=torch.uint8)
        bright = torch.arange(c.count) % 2
        brighter = images + (bright * 100).to(torch.uint8).view(-1, 1, 1, 1)
        if c.condition == "vector":
            return brighter, torch.stack([bright, 1 - bright], 1).float()
        if c.condition == "tokens":
            return brighter, torch.stack([1 + bright, 3 * bright, 0 * bright], 1)
        if c.condition == "image":
            return brighter, images
        if not c.classes:
            return images, None
        labels = torch.arange(c.count) % c.classes
        return images + (labels * 10).to(torch.uint8).view(-1, 1, 1, 1), labels


class TinyLatent(Plugin):
    """Standard normal prior."""

    name = "tiny"
    kind = "latent"

    class Config(Settings):
        size: int = Field(4, ge=1, description="length of z")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.latent_size = self.config.size

    @hookimpl
    def sample_latent(self, count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
        return torch.randn(count, self.config.size, device=device, generator=generator)

    @hookimpl
    def truncate_latent(self, z: Tensor, redraw: Callable[[], Tensor], threshold: float) -> Tensor:
        return truncated(z, redraw, threshold)


class ConditionNumbers(nn.Module):
    """Module that converts a condition of any kind to a float tensor (B, size). Without a condition, `size` is 0."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.size = spec.classes if spec.condition is None or spec.classes else math.prod(spec.condition.shape)
        self.register_buffer("one_hot", torch.eye(spec.classes), persistent=False)

    def forward(self, condition: Tensor | None, count: int) -> Tensor:
        assert isinstance(self.one_hot, Tensor)
        if condition is None or not self.size:
            return self.one_hot.new_zeros(count, 0)
        return self.one_hot[condition] if len(self.one_hot) else condition.flatten(1).float()


class TinyGeneratorNetwork(nn.Module):
    """Generator network: a linear layer, a convolution at half resolution, upsampling, and a convolution to pixels."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.size = height, columns = spec.image_size("tiny")
        self.shape = (width, (height + 1) // 2, (columns + 1) // 2)
        self.condition = ConditionNumbers(spec)
        self.linear = nn.Linear(spec.latent_size + self.condition.size, math.prod(self.shape))
        self.conv = spec.normalize("generator", nn.Conv2d(width, width, 3, padding=1), width)
        self.activation = nn.ReLU()
        self.to_pixels = nn.Conv2d(width, spec.channels, 3, padding=1)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate images (B, C, H, W) from z (B, latent_size) and the condition of the images, which may be None."""
        z = torch.cat([z, self.condition(condition, z.shape[0])], dim=1)
        maps = self.activation(self.conv(self.linear(z).view(-1, *self.shape)))
        return self.to_pixels(F.interpolate(maps, self.size)).tanh()


class FlatGeneratorNetwork(nn.Module):
    """Generator network for samples that are not images: a linear layer that maps z and the condition to a sample."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.shape = spec.shape
        self.condition = ConditionNumbers(spec)
        self.linear = nn.Linear(spec.latent_size + self.condition.size, math.prod(spec.shape))

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Generate samples (B, *shape) from z (B, latent_size) and the condition of the samples, which may be None."""
        z = torch.cat([z, self.condition(condition, z.shape[0])], dim=1)
        return self.linear(z).tanh().view(-1, *self.shape)


class TinyGenerator(Plugin):
    """Generator with a linear layer and two convolutions. It is conditional if the dataset has a condition."""

    name = "tiny"
    kind = "generator"

    class Config(Settings):
        width: int = Field(4, ge=1, description="channels of the hidden layer")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = spec.condition is not None

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        images = len(spec.shape) == 3
        return TinyGeneratorNetwork(spec, self.config.width) if images else FlatGeneratorNetwork(spec)


class TinyDiscriminatorNetwork(nn.Module):
    """Discriminator network: a convolution and a linear layer, with a projection of the condition."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        # Images of 1x1 pixels need stride 1: with stride 2, the bfloat16 gradient reads out of bounds in torch 2.13.
        height, columns = spec.image_size("tiny")
        stride = 2 if height > 1 else 1
        conv = nn.Conv2d(spec.channels, width, 3, stride=stride, padding=1)
        self.conv = spec.normalize("discriminator", conv, width)
        self.activation = nn.LeakyReLU(0.2)
        features = width * ((height + 1) // 2) * ((columns + 1) // 2)
        self.head = nn.Linear(features, 1)
        self.condition = ConditionNumbers(spec)
        self.projection = nn.Linear(self.condition.size, features, bias=False) if self.condition.size else None

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Compute logits (B,) and features (B, F) of images (B, C, H, W) with their condition, which may be None."""
        features = self.activation(self.conv(images)).flatten(1)
        logits = self.head(features).flatten()
        if self.projection is not None:
            logits = logits + (self.projection(self.condition(condition, len(images))) * features).mean(1)
        return DiscriminatorOutput(logits, features)


class FlatDiscriminatorNetwork(nn.Module):
    """Discriminator network for samples that are not images: two linear layers, with a projection of the condition."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(spec.shape), 8), nn.LeakyReLU(0.2))
        self.head = nn.Linear(8, 1)
        self.condition = ConditionNumbers(spec)
        self.projection = nn.Linear(self.condition.size, 8, bias=False) if self.condition.size else None

    def forward(self, samples: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Compute logits (B,) and features (B, 8) of samples (B, *shape) with their condition, which may be None."""
        features = self.hidden(samples)
        logits = self.head(features).flatten()
        if self.projection is not None:
            logits = logits + (self.projection(self.condition(condition, len(samples))) * features).mean(1)
        return DiscriminatorOutput(logits, features)


class TinyDiscriminator(Plugin):
    """Discriminator with a convolution and a linear layer."""

    name = "tiny"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(4, ge=1, description="channels of the hidden layer")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        images = len(spec.shape) == 3
        return TinyDiscriminatorNetwork(spec, self.config.width) if images else FlatDiscriminatorNetwork(spec)


class TinyLoss(Plugin):
    """Cross-entropy loss with the target values in `Step`, such as `real_target`."""

    name = "tiny"
    kind = "loss"
    uses_targets = True
    cross_entropy = True

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        return [LossTerm("adversarial", _discriminator_loss if player == "discriminator" else _generator_loss)]


def _discriminator_loss(step: Step) -> Tensor:
    real = _cross_entropy(step.real_output.logits, step.real_target)
    return real + _cross_entropy(step.fake_output.logits, step.fake_target)


def _generator_loss(step: Step) -> Tensor:
    return _cross_entropy(step.fake_output.logits, step.generator_target)


def _cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    logits, target = logits.float(), match_logits(target, logits)
    return (F.softplus(-logits) * target + F.softplus(logits) * (1 - target)).mean()


class TinyNorm(Plugin):
    """Normalisation plugin that applies batch norm to the output of a layer."""

    name = "tiny"
    kind = "normalization"
    batch_coupled = True

    @hookimpl
    def normalization(self, layer: nn.Module, features: int) -> nn.Module:
        norm: type[nn.Module] = nn.BatchNorm2d
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.ConvTranspose1d):  # vectors and audio
            norm = nn.BatchNorm1d
        elif isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):  # video
            norm = nn.BatchNorm3d
        return nn.Sequential(layer, norm(features))


class TinyNone(Plugin):
    """Normalisation plugin that returns the layer unchanged."""

    name = "tiny_none"
    kind = "normalization"

    @hookimpl
    def normalization(self, layer: nn.Module) -> nn.Module:
        return layer


class TinyOptimizer(Plugin):
    """Adam optimiser."""

    name = "tiny"
    kind = "optimizer"

    class Config(Settings):
        lr: float = Field(0.01, gt=0, description="learning rate")

    config: Config

    @hookimpl
    def build_optimizer(self, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.config.lr, betas=(0.5, 0.999))


class TinySchedule(Plugin):
    """Constant learning-rate schedule."""

    name = "tiny"
    kind = "lr_schedule"

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda iteration: 1.0


class TinyExtractor(Plugin):
    """Feature extractor whose features are the pixels. Its class logits depend on the brightness of the image."""

    name = "tiny"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset) -> Extractor:
        K = len(dataset.class_names)

        def extract(images: Tensor) -> Features:
            values = images.flatten(1).float() / 255
            return Features(values, -(values.mean(1, keepdim=True) - torch.arange(K) / 25).abs() if K else None)

        return Extractor({"extractor": "pixels"}, extract, dataset.class_names)


class TinyMetric(Plugin):
    """Metric: Euclidean distance between the mean features of real images and the mean features of generated images."""

    name = "tiny"
    kind = "metric"

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real_features.values, comparison.fake_features.values
        return {"mean_distance": (real.mean(0) - fake.mean(0)).norm().item()}


TINY_PLUGINS: tuple[type[Plugin], ...] = (
    TinyData,
    TinyLatent,
    TinyGenerator,
    TinyDiscriminator,
    TinyLoss,
    TinyNorm,
    TinyNone,
    TinyOptimizer,
    TinySchedule,
    TinyExtractor,
    TinyMetric,
)
