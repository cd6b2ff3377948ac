"""Hand-written training loops in processes of their own, for their peak memory.

    python benchmarks/memory_by_hand.py dcgan IMAGES LABELS [--resolution 64]

Trains a few iterations and prints the peak memory of the process in bytes. Nothing is written to disk. DCGAN and
WGAN-GP import torch alone. IGAN_vN imports gankit, for its networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from by_hand import LOOPS, Images
from torch import Tensor, nn
from torch.nn import functional as F

from gankit.plugin.condition import ClassCondition

WIDTH = 32
ITERATIONS = 4
CHUNK = 1000
BATCH_SIZES = {"dcgan": 128, "wgan_gp": 64, "igan_vn": 60}


class Output(NamedTuple):
    """Output of D."""

    logits: Tensor


class Generator(nn.Sequential):
    """Transposed convolutions, batch norm and ReLU (Radford 2015), from z to images."""

    def __init__(self, latent: int, resolution: int) -> None:
        sizes, channels = sides_and_channels(resolution)
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, channels[-1], sizes[-1])]
        for level in range(len(sizes) - 2, -1, -1):
            before, after = channels[level], channels[level - 1] if level else 1
            layers += [nn.BatchNorm2d(before), nn.ReLU()]
            layers += [nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1 - sizes[level] % 2)]
        super().__init__(*layers, nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return super().forward(z[:, :, None, None])


class Discriminator(nn.Sequential):
    """Strided convolutions and LeakyReLU (Radford 2015), with batch norm or without."""

    def __init__(self, resolution: int, normalized: bool) -> None:
        sizes, channels = sides_and_channels(resolution)
        layers: list[nn.Module] = []
        for level, (before, after) in enumerate(zip([1, *channels], channels, strict=False)):
            layers += [nn.Conv2d(before, after, 5, 2, 2)]
            layers += [nn.BatchNorm2d(after)] if normalized and level else []
            layers += [nn.LeakyReLU(0.2)]
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels[-1] * sizes[-1] ** 2, 1))

    def forward(self, images: Tensor, labels: Tensor | None) -> Output:
        return Output(super().forward(images))


def sides_and_channels(resolution: int) -> tuple[list[int], list[int]]:
    """Return the sides of the maps from the image down to 3 or 4, and the channels of all maps but the image."""
    sizes = [resolution]
    while sizes[-1] > 4:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes, [WIDTH * 2**level for level in range(len(sizes) - 1)]


def initialized(network: nn.Module) -> nn.Module:
    """Draw the weights from N(0, 0.02^2)."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
    return network


def networks(name: str, resolution: int) -> tuple[nn.Module, nn.Module]:
    """Return G and D of a loop."""
    if name != "igan_vn":
        normalized = name == "dcgan"
        G, D = Generator(100 if normalized else 128, resolution), Discriminator(resolution, normalized)
        return initialized(G), initialized(D)
    from gankit import Spec
    from gankit_plugins.discriminator.igan import IganPerClass
    from gankit_plugins.generator.igan_vn import IganVn

    def normalize(player: str, layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, nn.BatchNorm2d(features)) if player == "generator" else layer

    spec = Spec((1, resolution, resolution), ClassCondition(tuple("0123456789")), latent_size=100, normalize=normalize)
    G = IganVn(IganVn.Config(channels=32, normalize_output=False)).build_generator(spec)
    return G, IganPerClass(IganPerClass.Config(width=16)).build_discriminator(spec)


def read_images(images: Path, labels: Path, resolution: int) -> tuple[Tensor, Tensor]:
    """Return the images (N, 1, R, R) uint8 and the labels (N,) of unpacked idx files."""
    side = 28
    pixels = torch.frombuffer(bytearray(images.read_bytes()), dtype=torch.uint8, offset=16).view(-1, 1, side, side)
    if resolution != side:
        larger = torch.empty(len(pixels), 1, resolution, resolution, dtype=torch.uint8)
        for source, target in zip(pixels.split(CHUNK), larger.split(CHUNK), strict=True):
            target.copy_(F.interpolate(source.float(), (resolution, resolution), mode="bilinear", antialias=True))
        pixels = larger
    return pixels, torch.frombuffer(bytearray(labels.read_bytes()), dtype=torch.uint8, offset=8).long()


def peak() -> int:
    """Return the peak memory of this process in bytes. Linux only."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", choices=BATCH_SIZES)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    given = parser.parse_args(arguments)
    images, labels = read_images(given.images, given.labels, given.resolution)
    with_classes = given.loop == "igan_vn"
    data = Images(images, labels if with_classes else None, BATCH_SIZES[given.loop], 10)
    G, D = (network.to(memory_format=torch.channels_last) for network in networks(given.loop, given.resolution))
    iteration = LOOPS[f"{given.loop}_mnist"](G, D, data, lambda: torch.autocast("cpu", torch.bfloat16, enabled=False))
    for _ in range(given.iterations):
        iteration()
    print(peak())


if __name__ == "__main__":
    main()
