"""gankit's iteration against the shortest hand-written loop of the same networks, terms and data.

    python benchmarks/loop.py [--pairs 40] [--recipe mnist_size|small]

Three loops take turns in one process: gankit's, the hand-written one, and a second copy of the hand-written one
as the control. What counts is the median over rounds of the ratio within a round. A result is valid when the
control lies within 0.99 to 1.01 and the process kept both cores busy; on a noisy machine CPU time is the fairer
clock, so both are shown.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from gankit import Dataset, Game, Recipe
from gankit.runs import prepare_torch
from gankit.trainer import play_iteration

SIZES: dict[str, dict[str, Any]] = {
    # The ten-digit MNIST recipe's shape of work.
    "mnist_size": {"resolution": 28, "classes": 10, "batch_size": 60, "channels": 32, "width": 16},
    # So little arithmetic that only the loop's own cost is left to see.
    "small": {"resolution": 8, "classes": 2, "batch_size": 4, "channels": 2, "width": 2},
}
SIGMA, PENALTY, D_TURNS = 0.1, 5.0, 3


def build_game(size: dict[str, Any]) -> Game:
    raw = {
        "train": {
            "batch_size": size["batch_size"],
            "discriminator_turns": D_TURNS,
            "device": "cpu",
            "channels_last": False,
        },
        "data": {"use": "shapes", "resolution": size["resolution"], "channels": 1, "count": 600},
        "generator": {"use": "igan_vn", "channels": size["channels"]},
        "discriminator": {"use": "igan_per_class", "width": size["width"]},
        "normalization": {"generator": "batch_norm"},
        "lr_schedule": {"use": "igan_dynamic"},
        "tricks": {
            "label_smoothing": {},
            "gradient_penalty": {"weight": PENALTY},
            "instance_noise": {"sigma": SIGMA},
        },
    }
    recipe = Recipe.from_dict(raw, source="benchmarks/loop.py")
    prepare_torch(recipe)
    game = Game(recipe)
    replace_data(game, size)
    game.load_data()
    return game


def replace_data(game: Game, size: dict[str, Any]) -> None:
    """Random images: what they show costs nothing and changes nothing here."""
    names = tuple(str(k) for k in range(size["classes"]))
    resolution = size["resolution"]

    def load() -> tuple[Tensor, Tensor]:
        randomness = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (60 * len(names), 1, resolution, resolution), generator=randomness)
        return images.to(torch.uint8), torch.arange(60 * len(names)) % len(names)

    game.dataset = Dataset(1, resolution, names, load)


def hand_written(game: Game) -> Callable[[], None]:
    """The loop that somebody who knows all of gankit's defaults would write for this one recipe."""
    G, D = copy.deepcopy(game.generator), copy.deepcopy(game.discriminator)
    images, labels = game.dataset.load()
    assert labels is not None
    classes, each = game.spec.classes, game.recipe.train.batch_size // game.spec.classes
    members = [(labels == k).nonzero().flatten() for k in range(classes)]
    orders = [m[torch.randperm(len(m))] for m in members]
    position = 0
    optimizers = {
        "G": torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True),
        "D": torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True),
    }
    t = 0

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        nonlocal position
        if position + each > len(orders[0]):
            orders[:] = [m[torch.randperm(len(m))] for m in members]
            position = 0
        index = torch.stack([o[position : position + each] for o in orders], dim=1).flatten()
        position += each
        real = images[index].float().div_(127.5).sub_(1.0)
        return real, labels[index], torch.randn(len(index), 100)

    def step(name: str) -> None:
        for group in optimizers[name].param_groups:
            group["lr"] = 2e-4 * (0.0002 + 1 / (3000 + 10 * t)) / 0.0002
        optimizers[name].step()
        optimizers[name].zero_grad()

    def noisy(x: Tensor) -> Tensor:
        return x + SIGMA * torch.randn_like(x)

    def iteration() -> None:
        nonlocal t
        for _ in range(D_TURNS):
            real, y, z = batch()
            with torch.no_grad():
                fake = G(z, y)
            real, fake = noisy(real), noisy(fake)
            on_real, on_fake = D(real, y).logits, D(fake, y).logits
            loss = cross_entropy(on_real, torch.full_like(on_real, 0.9))
            loss = loss + cross_entropy(on_fake, torch.zeros_like(on_fake))
            mix = torch.rand(len(real), 1, 1, 1)
            between = (mix * real + (1 - mix) * fake).requires_grad_()
            (slope,) = torch.autograd.grad(D(between, y).logits.sum(), between, create_graph=True)
            loss = loss + PENALTY * (slope.flatten(1).norm(dim=1) - 1).square().mean()
            loss.backward()
            step("D")
        _, y, z = batch()
        freeze(D, True)
        on_fake = D(noisy(G(z, y)), y).logits
        cross_entropy(on_fake, torch.ones_like(on_fake)).backward()
        freeze(D, False)
        step("G")
        t += 1

    return iteration


def freeze(network: nn.Module, frozen: bool) -> None:
    for parameter in network.parameters():
        parameter.requires_grad_(not frozen)


def timed(iteration: Callable[[], None], repeats: int) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        iteration()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(size: str, pairs: int, repeats: int) -> dict[str, Any]:
    game = build_game(SIZES[size])
    loops = {
        "gankit": lambda: play_iteration(game),
        "hand": hand_written(game),
        "control": hand_written(game),
    }
    names = list(loops)
    for loop in loops.values():
        timed(loop, 3 * repeats)
    rounds: list[dict[str, tuple[float, float]]] = []
    for number in range(pairs):
        # Who goes first changes from round to round, so that a drift of the machine's speed favours nobody.
        order = names[number % 3 :] + names[: number % 3]
        rounds.append({name: timed(loops[name], repeats) for name in order})
    result: dict[str, Any] = {}
    for clock, which in (("wall", 0), ("cpu", 1)):
        for name in ("gankit", "control"):
            ratios = sorted(r[name][which] / r["hand"][which] for r in rounds)
            low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
            result[f"{name}/hand, {clock}"] = (statistics.median(ratios), low, high)
    result["milliseconds"] = 1000 * statistics.median(r["hand"][0] for r in rounds) / repeats
    result["busy"] = sum(t[1] for r in rounds for t in r.values()) / sum(t[0] for r in rounds for t in r.values())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="rounds")
    parser.add_argument("--recipe", choices=SIZES, default="mnist_size")
    arguments = parser.parse_args()
    repeats = {"mnist_size": 1, "small": 20}[arguments.recipe]
    result = measure(arguments.recipe, arguments.pairs, repeats)
    print(f"{arguments.recipe}: an iteration by hand takes {result.pop('milliseconds'):.1f} ms")
    busy = result.pop("busy")
    for name, (median, low, high) in result.items():
        print(f"  {name:22} median {median:.3f}   middle half {low:.3f} to {high:.3f}")
    control = result["control/hand, cpu"][0]
    wanted = 0.95 * min(2, torch.get_num_threads(), os.cpu_count() or 1)
    valid = 0.99 <= control <= 1.01 and busy >= wanted
    print(f"  CPU time / wall time {busy:.2f}; the measurement is {'valid' if valid else 'NOT valid: repeat it'}")


if __name__ == "__main__":
    main()
