"""The shortest training loops in plain torch, each a process of its own, for their peak of memory.

    python benchmarks/memory_by_hand.py dcgan IMAGES LABELS [--resolution 64]

Trains a few iterations and prints the process's peak in bytes. DCGAN and WGAN-GP import torch alone: no gankit, not
one of its libraries. The networks of IGAN_vN are gankit's classes, with pydantic and pluggy behind them. All write
neither checkpoints nor pictures.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from plain import adam, freeze, penalty, step
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 32
ITERATIONS = 4
CHUNK = 1000


def dcgan_generator(latent: int, resolution: int) -> nn.Module:
    """(B, latent, 1, 1) to (B, 1, R, R) by transposed convolutions, batch norm and ReLU (Radford 2015)."""
    sizes, channels = sides_and_channels(resolution)
    layers: list[nn.Module] = [nn.ConvTranspose2d(latent, channels[-1], sizes[-1])]
    for level in range(len(sizes) - 2, -1, -1):
        before, after = channels[level], channels[level - 1] if level else 1
        layers += [nn.BatchNorm2d(before), nn.ReLU()]
        layers += [nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1 - sizes[level] % 2)]
    return drawn(nn.Sequential(*layers, nn.Tanh()))


def dcgan_discriminator(resolution: int, normalised: bool) -> nn.Module:
    """(B, 1, R, R) to (B, 1) by strided convolutions and LeakyReLU, with batch norm or without (Radford 2015)."""
    sizes, channels = sides_and_channels(resolution)
    layers: list[nn.Module] = []
    for level, (before, after) in enumerate(zip([1, *channels], channels, strict=False)):
        layers += [nn.Conv2d(before, after, 5, 2, 2)]
        layers += [nn.BatchNorm2d(after)] if normalised and level else []
        layers += [nn.LeakyReLU(0.2)]
    return drawn(nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * sizes[-1] ** 2, 1)))


def sides_and_channels(resolution: int) -> tuple[list[int], list[int]]:
    """The maps' sides from the image down to 3 or 4, and the channels of all but the image."""
    sizes = [resolution]
    while sizes[-1] > 4:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes, [WIDTH * 2**level for level in range(len(sizes) - 1)]


def drawn(network: nn.Module) -> nn.Module:
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def dcgan(images: Tensor, labels: Tensor, batch_size: int = 128) -> Iterator[None]:
    G, D = dcgan_generator(100, images.shape[-1]), dcgan_discriminator(images.shape[-1], normalised=True)
    of_G, of_D = adam(G, 2e-4, (0.5, 0.999)), adam(D, 2e-4, (0.5, 0.999))
    for real in batches(images, batch_size):
        with torch.no_grad():
            fake = G(torch.rand(batch_size, 100, 1, 1) * 2 - 1)
        step(F.softplus(-D(real)).mean() + F.softplus(D(fake)).mean(), of_D)
        freeze(D, True)
        step(F.softplus(-D(G(torch.rand(batch_size, 100, 1, 1) * 2 - 1))).mean(), of_G)
        freeze(D, False)
        yield


def wgan_gp(images: Tensor, labels: Tensor, batch_size: int = 64) -> Iterator[None]:
    G, D = dcgan_generator(128, images.shape[-1]), dcgan_discriminator(images.shape[-1], normalised=False)
    of_G, of_D = adam(G, 1e-4, (0.0, 0.9)), adam(D, 1e-4, (0.0, 0.9))
    for turn, real in enumerate(batches(images, batch_size)):
        with torch.no_grad():
            fake = G(torch.randn(batch_size, 128, 1, 1))
        step(D(fake).mean() - D(real).mean() + 10 * penalty(D, real, fake), of_D)
        if turn % 5 == 4:
            freeze(D, True)
            step(-D(G(torch.randn(batch_size, 128, 1, 1))).mean(), of_G)
            freeze(D, False)
            yield


def igan_vn(images: Tensor, labels: Tensor, batch_size: int = 60) -> Iterator[None]:
    from gankit import Spec
    from gankit_plugins.discriminator.igan import IganDiscriminatorNetwork
    from gankit_plugins.generator.igan_vn import IganVnGenerator

    def normalize(player: str, layer: nn.Module, features: int) -> nn.Module:
        return nn.Sequential(layer, nn.BatchNorm2d(features)) if player == "generator" else layer

    names = tuple("0123456789")
    spec = Spec(1, images.shape[-1], 10, names, latent_size=100, normalize=normalize)
    G, D = IganVnGenerator(spec, 32, "transposed", False), IganDiscriminatorNetwork(spec, 16, 10)
    for network in (G, D):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = [p.detach().clone() for p in G.parameters()]
    of_G, of_D = adam(G, 3e-4, (0.5, 0.999)), adam(D, 2e-4, (0.5, 0.999))
    members = [(labels == k).nonzero().flatten() for k in range(10)]
    y = torch.arange(batch_size) % 10

    def noisy(x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)

    turn = 0
    while True:
        index = torch.stack([of[torch.randint(len(of), (batch_size // 10,))] for of in members], dim=1).flatten()
        with torch.no_grad():
            fake = noisy(G(torch.randn(batch_size, 100), y))
        real = noisy(floats(images[index]))
        on_real, on_fake = D(real, y).logits, D(fake, y).logits
        loss = F.binary_cross_entropy_with_logits(on_real, torch.full_like(on_real, 0.9)) + F.softplus(on_fake).mean()
        step(loss + 5 * penalty(lambda x: D(x, y).logits, real, fake), of_D)
        turn += 1
        if turn % 3 == 0:
            freeze(D, True)
            step(F.softplus(-D(noisy(G(torch.randn(batch_size, 100), y)), y).logits).mean(), of_G)
            freeze(D, False)
            torch._foreach_lerp_(average, [p.detach() for p in G.parameters()], 0.01)
            yield


LOOPS = {"dcgan": dcgan, "wgan_gp": wgan_gp, "igan_vn": igan_vn}


def batches(images: Tensor, batch_size: int) -> Iterator[Tensor]:
    while True:
        for index in torch.randperm(len(images)).split(batch_size):
            if len(index) == batch_size:
                yield floats(images[index])


def floats(images: Tensor) -> Tensor:
    return images.float().div_(127.5).sub_(1.0).contiguous(memory_format=torch.channels_last)


def read_images(images: Path, labels: Path, resolution: int) -> tuple[Tensor, Tensor]:
    """Unpacked idx files to (N, 1, R, R) uint8 and (N,) int64."""
    side = 28
    pixels = torch.frombuffer(bytearray(images.read_bytes()), dtype=torch.uint8, offset=16).view(-1, 1, side, side)
    if resolution != side:
        larger = torch.empty(len(pixels), 1, resolution, resolution, dtype=torch.uint8)
        for source, target in zip(pixels.split(CHUNK), larger.split(CHUNK), strict=True):
            target.copy_(F.interpolate(source.float(), (resolution, resolution), mode="bilinear", antialias=True))
        pixels = larger
    return pixels, torch.frombuffer(bytearray(labels.read_bytes()), dtype=torch.uint8, offset=8).long()


def peak() -> int:
    """Bytes of memory that this process has had at most. Linux alone says."""
    said = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert said is not None
    return int(said[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=LOOPS)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--resolution", type=int, default=28)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    asked = parser.parse_args()
    loop = LOOPS[asked.work](*read_images(asked.images, asked.labels, asked.resolution))
    for _ in range(asked.iterations):
        next(loop)
    print(peak())


if __name__ == "__main__":
    main()
