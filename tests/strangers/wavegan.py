"""WaveGAN for short sounds (C, L): data drawn by rule, one-dimensional networks, phase shuffle, metric.

Source: Donahue 2019 (Adversarial Audio Synthesis), section 3 and tables 3 and 4; the loss is that of Gulrajani 2017.
"""

import itertools
import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from gankit import (
    ClassCondition,
    Comparison,
    Dataset,
    DiscriminatorOutput,
    InputError,
    Plugin,
    Settings,
    Spec,
    hookimpl,
)

CLASSES = ("tone", "chirp")
KERNEL = 25  # length of all filters, Donahue 2019, tables 3 and 4
STRIDE = 4


def sounds(count: int, length: int, pitch: float, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return sounds (count, 1, length) in [-1, 1] and labels (count,).

    x(t) = a sin(2 pi (f t + c f t^2 / 2) + phi) for t in [0, 1), with c = 0 (tone) or 2 (chirp, from f to 3 f).
    f is in cycles per sound, uniform on [pitch - spread, pitch + spread].
    """
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    f, a, phi = torch.rand(3, count, 1, generator=random)
    f = pitch + spread * (2 * f - 1)
    t = torch.arange(length) / length
    cycles = f * t + labels[:, None] * f * t.square()
    return ((0.5 + 0.5 * a) * (2 * math.pi * (cycles + phi)).sin())[:, None], labels


class Sounds(Plugin):
    """Tones and rising chirps, the two classes.

    Source: none, an example.

    When to use: as a test of networks for audio.
    When not: for conclusions about music or speech.
    """

    name = "sounds"
    kind = "data"

    class Config(Settings):
        count: int = Field(512, ge=2, description="number of sounds")
        length: int = Field(256, ge=16, description="samples of a sound")
        pitch: float = Field(10.0, gt=0, description="mean frequency at the start, in cycles per sound")
        spread: float = Field(2.0, ge=0, description="largest distance from the mean frequency")
        seed: int = Field(0, ge=0, description="random seed of the sounds")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset(
            (1, c.length), ClassCondition(CLASSES), lambda: sounds(c.count, c.length, c.pitch, c.spread, c.seed)
        )


def levels(shape: tuple[int, ...], owner: str) -> tuple[int, int]:
    """Return the number of layers with stride 4 and the remaining length, for sounds (C, L)."""
    if len(shape) != 2:
        raise InputError(f"{owner}: needs sounds (C, L), and the data have the shape {shape}; use it with audio data")
    length, count = shape[1], 0
    while length % STRIDE == 0 and length > STRIDE:
        length, count = length // STRIDE, count + 1
    if not count:
        raise InputError(f"{owner}: the length {shape[1]} of the sounds must be a multiple of 4, at least 8")
    return count, length


class Generator(nn.Module):
    """Transposed convolutions with stride 4, from z and the class. Source: Donahue 2019, table 3."""

    def __init__(self, spec: Spec, width: int) -> None:
        super().__init__()
        self.classes = spec.classes if spec.conditional else 0
        count, self.start = levels(spec.shape, "wavegan")
        sizes = [width * 2**i for i in reversed(range(count))]
        linear = nn.Linear(spec.latent_size + self.classes, sizes[0] * self.start)
        layers = [linear, nn.Unflatten(1, (sizes[0], self.start)), nn.ReLU()]
        for before, after in itertools.pairwise(sizes):
            layers += [spec.normalize("generator", self.up(before, after), after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, self.up(sizes[-1], spec.channels), nn.Tanh())

    @staticmethod
    def up(before: int, after: int) -> nn.Module:
        return nn.ConvTranspose1d(before, after, KERNEL, STRIDE, padding=11, output_padding=1)

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Return sounds (B, C, L) in [-1, 1]."""
        if self.classes:
            z = torch.cat([z, one_hot(labels, self.classes).to(z.dtype)], 1)
        return self.layers(z)


def shifted(x: Tensor, shift: Tensor) -> Tensor:
    """Return x (B, C, L) with each row moved by shift (B,) samples; the gap is filled by reflection."""
    length = x.shape[2]
    index = (torch.arange(length, device=x.device) - shift[:, None]).abs()
    index = torch.where(index < length, index, 2 * (length - 1) - index)
    return x.gather(2, index[:, None].expand_as(x))


class PhaseShuffle(nn.Module):
    """Random shift of the activations of each sound by -n to n samples. Source: Donahue 2019, section 3.3."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, L) with each row shifted; in evaluation mode x itself."""
        if not self.training:
            return x
        n = min(self.n, x.shape[2] - 1)
        return shifted(x, torch.randint(-n, n + 1, (len(x),), device=x.device))


class Discriminator(nn.Module):
    """Convolutions with stride 4 and phase shuffle between them. Source: Donahue 2019, table 4."""

    def __init__(self, spec: Spec, width: int, shuffle: int) -> None:
        super().__init__()
        count, end = levels(spec.shape, "wavegan")
        sizes = [spec.channels, *(width * 2**i for i in range(count))]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(sizes)):
            conv: nn.Module = nn.Conv1d(before, after, KERNEL, STRIDE, padding=11)
            layers += [spec.normalize("discriminator", conv, after) if i else conv, nn.LeakyReLU(0.2)]
            if shuffle and i < count - 1:
                layers.append(PhaseShuffle(shuffle))
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(sizes[-1] * end, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features of sounds (B, C, L); labels are unused."""
        features = self.layers(images)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class WaveGenerator(Plugin):
    """WaveGAN's generator: transposed convolutions along time.

    Source: Donahue 2019, table 3. The class, if there is one, is an input of the first layer.

    When to use: for short sounds.
    When not: for images.
    """

    name = "wavegan"
    kind = "generator"

    class Config(Settings):
        width: int = Field(16, ge=1, description="channels of the last hidden layer, d in the paper (64)")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = spec.classes > 0

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return Generator(spec, self.config.width)


class WaveDiscriminator(Plugin):
    """WaveGAN's discriminator: convolutions along time, with phase shuffle.

    Source: Donahue 2019, table 4 and section 3.3.

    When to use: for short sounds.
    When not: for images.
    """

    name = "wavegan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(16, ge=1, description="channels of the first layer, d in the paper (64)")
        shuffle: int = Field(2, ge=0, description="largest shift of phase shuffle, n in the paper; 0: none")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return Discriminator(spec, self.config.width, self.config.shuffle)


def pitch(sounds: Tensor) -> Tensor:
    """Return the centre of the power spectrum of sounds (N, C, L), (N,) in cycles per sound."""
    power = torch.fft.rfft(sounds.double().mean(1)).abs().square()[:, 1:]
    frequencies = torch.arange(1, power.shape[1] + 1)
    return (power * frequencies).sum(1) / power.sum(1).clamp_min(1e-12)


class PitchError(Plugin):
    """Mean distance of a generated sound's pitch from the mean pitch of real sounds of the class asked for.

    Source: none; the pitch is the spectral centroid.

    When to use: for sounds with classes of different pitch.
    When not: for images.
    """

    name = "pitch_error"
    kind = "metric"
    better: ClassVar = {"pitch_error": "lower"}

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float]:
        real, fake = comparison.real, comparison.fake
        real_pitch, fake_pitch = pitch(real.images), pitch(fake.images)
        if fake.labels is None or real.labels is None:
            return {"pitch_error": (fake_pitch - real_pitch.mean()).abs().mean().item()}
        asked = torch.stack([real_pitch[real.labels == c].mean() for c in range(len(real.class_names))])
        return {"pitch_error": (fake_pitch - asked[fake.labels]).abs().mean().item()}
