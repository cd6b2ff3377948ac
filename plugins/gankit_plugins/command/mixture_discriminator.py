"""Discriminator between real data and samples of a mixture, from which AdaGAN computes the weights of the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

BATCH, LEARNING_RATE = 128, 1e-3
"""Number of real samples in a batch, and learning rate of Adam.

A batch contains an equal number of generated samples.
"""

UNITS, WIDTH, MAX_WIDTH = 128, 32, 128
"""Width of the fully connected layers, and minimum and maximum number of channels of the convolutions."""

MAX_RESOLUTION = 32
"""Maximum height and width of images, in pixels, at the first convolution.

Average pooling downsamples larger images.
"""

MIN_SIDE = 8
"""Minimum height and width of images for which the discriminator has convolutions.

For smaller images, it has fully connected layers only.
"""

CHUNK = 512
"""Number of rows of the data that the discriminator evaluates at once."""


def as_floats(samples: Tensor) -> Tensor:
    """Return samples in float32 in [-1, 1]. uint8 and uint16 values are scaled."""
    if not samples.is_floating_point():
        return samples.float() / (32767.5 if samples.dtype == torch.uint16 else 127.5) - 1
    return samples.float()


def rounded_like(samples: Tensor, dtype: torch.dtype) -> Tensor:
    """Round generated samples in [-1, 1] to values that data of type `dtype` can have. Return them in float32.

    Without this rounding, the discriminator could recognise uint8 and uint16 data by their rounded values.
    """
    if dtype.is_floating_point:
        return samples.float()
    half = 32767.5 if dtype == torch.uint16 else 127.5
    return ((samples.float() + 1) * half).round().clamp(0, 2 * half) / half - 1


def build_discriminator(shape: tuple[int, ...]) -> nn.Sequential:
    """Return a small discriminator that maps samples (B, *shape) to logits (B, 1).

    For images of at least 8x8 pixels, it has convolutions and fully connected layers. For other samples, it has fully
    connected layers only.
    """
    layers: list[nn.Module] = []
    width = math.prod(shape)
    if len(shape) == 3 and min(shape[1:]) >= MIN_SIDE:
        channels, height, side = shape
        pool = -(-max(height, side) // MAX_RESOLUTION)
        if pool > 1:
            layers.append(nn.AvgPool2d(pool, ceil_mode=True))
        sides, wider = [-(-one // pool) for one in (height, side)], WIDTH
        while min(sides) > 4:
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
            sides, channels, wider = [-(-one // 2) for one in sides], wider, min(2 * wider, MAX_WIDTH)
        width = channels * math.prod(sides)
    layers += [nn.Flatten(), nn.Linear(width, UNITS), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(UNITS, UNITS), nn.LeakyReLU(0.2), nn.Linear(UNITS, 1))


def train_discriminator(
    real: Tensor, fake: Tensor, steps: int, seed: int, device: torch.device | str = "cpu"
) -> nn.Sequential:
    """Train a discriminator with cross-entropy to separate real from generated samples, and return it.

    Each batch has equal numbers of real and generated samples. The sigmoid of the optimal output is therefore the
    probability that a sample is real, with equal priors. The state of the global random number generator does not
    change.

    Args:
        real: data (N, *shape).
        fake: generated samples (M, *shape) in [-1, 1], rounded like the data.
        steps: number of training steps.
        seed: random seed of the weights and the batches.
        device: device of the network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_discriminator(tuple(real.shape[1:])).to(device)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    targets = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)]).to(device)
    for _ in range(steps):
        rows, samples = (torch.randint(len(one), (BATCH,), generator=generator) for one in (real, fake))
        batch = torch.cat([as_floats(real[rows]), fake[samples]]).to(device)
        loss = binary_cross_entropy_with_logits(network(batch).flatten(), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


@torch.no_grad()
def logits_of(network: nn.Module, real: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Compute the logits of a discriminator for data (N, *shape). Return them, (N,), on the CPU."""
    return torch.cat([network(as_floats(some).to(device)).flatten().cpu() for some in real.split(CHUNK)])
