"""CycleGAN: translation between two sets of images without pairs, in both directions (Zhu 2017)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy
import torch
from pydantic import Field
from torch import Tensor, nn

from gankit import (
    ExtraNetwork,
    InputError,
    LossTerm,
    Player,
    Plugin,
    RecipeInfo,
    Run,
    Scheduled,
    Settings,
    Spec,
    Step,
    hookimpl,
)
from gankit_plugins.layers.translation import source_channels
from gankit_plugins.trick.experience_replay import ReplayBuffer, replay
from gankit_plugins.trick.l1_to_target import l1

SOURCE_DISCRIMINATOR = "source_discriminator"
"""Name of the network that compares translated targets with source images."""

POOL_SHARE = 0.5
"""Probability that a generated image is replaced by an image of the pool (Shrivastava 2017, section 2.3)."""

Direction = Literal["to_target", "to_source"]


def redrawn(network: nn.Module) -> nn.Module:
    """Return a copy of a network with other initial weights: the entries of each parameter in random order.

    The initial entries of a weight are usually independent and equally distributed, so a random order of these entries
    is another draw from the same distribution.
    """
    network = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            order = torch.randperm(parameter.numel()).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return network


class TwoWayGenerator(nn.Module):
    """Generators of both directions. Calls use the generator of `direction`."""

    def __init__(self, to_target: nn.Module, to_source: nn.Module, direction: Direction) -> None:
        super().__init__()
        self.to_target, self.to_source = to_target, to_source
        self.direction = direction

    def forward(self, z: Tensor, images: Tensor) -> Tensor:
        """Return the translations (B, C, H, W) of images (B, C, H, W)."""
        network = self.to_target if self.direction == "to_target" else self.to_source
        result: Tensor = network(z, images)
        return result


def cycle_loss(
    x: Tensor,
    y: Tensor,
    to_target: Callable[[Tensor], Tensor],
    to_source: Callable[[Tensor], Tensor],
    translated_x: Tensor,
    translated_y: Tensor,
) -> Tensor:
    """Return E[|F(G(x)) - x|] + E[|G(F(y)) - y|], a scalar (Zhu 2017, equation 2).

    Args:
        x: source images, (B, C, H, W).
        y: target images, (B, C, H, W).
        to_target: G.
        to_source: F.
        translated_x: G(x).
        translated_y: F(y).
    """
    return l1(to_source(translated_x), x) + l1(to_target(translated_y), y)


def identity_loss(
    x: Tensor, y: Tensor, to_target: Callable[[Tensor], Tensor], to_source: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return E[|G(y) - y|] + E[|F(x) - x|], a scalar (Zhu 2017, section 5.2), for sources x and targets y."""
    return l1(to_target(y), y) + l1(to_source(x), x)


class CycleConsistency(Plugin):
    """CycleGAN: a second generator from targets to sources, so that an image returns to itself after both generators.

    Source: Zhu 2017, equations 1 to 3 and section 4. The recipe's generator becomes G (source to target) and F (target
    to source), which have the same form. The recipe's discriminator compares G's images with the targets, and a second
    one of the same form compares F's images with the source images. The recipe's `loss` applies in both directions. G
    and F also minimise `weight` times the cycle loss (equation 2), and `identity_weight` times the identity loss
    (section 5.2), which keeps colours. Each discriminator gets earlier generated images for half of its generated
    images, from a pool of `pool` images (Shrivastava 2017, section 2.3).

    In the paper, lambda is 10 and the identity loss has half of it. G's least-squares loss in the paper has no factor
    1/2. The plugin `least_squares` has it, so `weight = 5` and `identity_weight = 2.5` correspond to the paper.

    The file of the generator contains both directions. `gankit sample RUN
    tricks.cycle_consistency.direction=to_source --input FOLDER --out NEW` translates targets to source images.

    When to use: for two sets of images without pairs (`unpaired`), with the generator `cyclegan`, the discriminator
    `patchgan` and the loss `least_squares`.
    When not: with pairs (use `l1_to_target`), or with a discriminator that takes the source image.
    """

    name = "cycle_consistency"
    state_scope = "per_rank"

    class Config(Settings):
        weight: Scheduled = Field(10.0, gt=0, description="lambda, weight of the cycle loss")
        identity_weight: Scheduled = Field(5.0, ge=0, description="weight of the identity loss; 0: none")
        pool: int = Field(50, ge=0, description="number of earlier generated images for each discriminator; 0: none")
        direction: Direction = Field(
            "to_target", description="direction of samples; to_source is possible in `gankit sample` only"
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.pools: dict[str, ReplayBuffer] = {}
        self.saved: dict[str, Tensor] = {}
        self.reversed: tuple[Step, Step] | None = None
        """Step of the last call of `reverse`, and its result."""

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if recipe.use_of("discriminator") == "conditional_patchgan":
            raise ValueError("without pairs, the discriminator must not take the source image; use patchgan")
        if self.config.direction != "to_target":
            raise ValueError(
                "direction is a setting of `gankit sample`; remove it, or exchange data.source and data.target"
            )
        return ()

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        if source_channels(spec, self.name) != spec.channels:
            raise InputError(f"{self.name} needs source images and targets with the same number of channels")
        if not spec.conditional:
            raise InputError(f"{self.name} needs a generator that takes a source image; use cyclegan or pix2pix")

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        if player == "discriminator":
            return network
        return TwoWayGenerator(network, redrawn(network), self.config.direction)

    @hookimpl
    def extra_networks(self, run: Run) -> dict[str, ExtraNetwork]:
        return {SOURCE_DISCRIMINATOR: ExtraNetwork(redrawn(run.discriminator), trained_by=("discriminator",))}

    @hookimpl
    def on_start(self, run: Run) -> None:
        if not self.config.pool:
            return
        slots = max(1, self.config.pool // run.ranks.size)
        for name in ("target", "source"):
            pool = self.pools[name] = ReplayBuffer(1, slots, run.spec.shape, run.device)
            if self.saved:
                pool.images.copy_(self.saved[f"{name}_images"])
                pool.filled.copy_(self.saved[f"{name}_filled"])
        self.saved = {}

    @hookimpl
    def wrap_loss(self, terms: dict[Player, list[LossTerm]], run: Run) -> dict[Player, list[LossTerm]]:
        return {player: [*own, *(self._reversed_term(run, term) for term in own)] for player, own in terms.items()}

    def _reversed_term(self, run: Run, term: LossTerm) -> LossTerm:
        """Return the same loss term for the direction from targets to source images."""
        return replace(
            term,
            name=f"source_{term.name}",
            function=lambda step: term.function(self.reverse(run, step)),
            input_gradients=(),
        )

    @hookimpl
    def loss_terms(self, player: Player, run: Run) -> Iterable[LossTerm]:
        if player == "generator":
            yield LossTerm("cycle", lambda step: self._cycle(run, step), self.config.weight)
            if self.config.identity_weight:
                yield LossTerm(
                    "identity", lambda step: identity_loss(*directions(run, step)), self.config.identity_weight
                )

    def _cycle(self, run: Run, step: Step) -> Tensor:
        x, y, to_target, to_source = directions(run, step)
        return cycle_loss(x, y, to_target, to_source, step.fake, self.reverse(run, step).fake)

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        step.fake = self._pooled(step, "target")

    def reverse(self, run: Run, step: Step) -> Step:
        """Return the step of the other direction. Its real images are the source images of `step`.

        All loss terms of `step` get the same object, so F translates the targets only once.
        """
        if self.reversed is None or self.reversed[0] is not step:
            x, y, _, to_source = directions(run, step)
            with torch.set_grad_enabled(step.player == "generator"):
                fake = to_source(y).float()
            discriminator = run.networks[SOURCE_DISCRIMINATOR]
            other = replace(step, real=x, condition=y, fake=fake, fields={}, discriminator=discriminator)
            if step.player == "discriminator":
                other.fake = self._pooled(other, "source")
            self.reversed = step, other
        return self.reversed[1]

    def _pooled(self, step: Step, name: str) -> Tensor:
        """Return the fake images of a D step, some of them replaced by images of the pool `name`."""
        # numpy draws on the CPU, so the CPU does not wait for the device.
        count = int(numpy.random.binomial(len(step.fake), POOL_SHARE))
        if not count or step.simulated or name not in self.pools:
            return step.fake
        classes = torch.zeros(len(step.fake), dtype=torch.int64, device=step.fake.device)
        return replay(step.fake, classes, self.pools[name], count)

    def state_dict(self) -> dict[str, Any]:
        images = {f"{name}_images": pool.images for name, pool in self.pools.items()}
        return images | {f"{name}_filled": pool.filled for name, pool in self.pools.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.saved = dict(state)


def two_way(generator: nn.Module) -> TwoWayGenerator:
    """Return the module with both directions inside a generator, which other plugins may have wrapped."""
    return next(module for module in generator.modules() if isinstance(module, TwoWayGenerator))


def directions(run: Run, step: Step) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the source images and the targets of a step, and G and F."""
    assert step.condition is not None, "adjust_spec refuses data without source images"
    both = two_way(run.generator)
    return step.condition, step.real, lambda x: both.to_target(step.z, x), lambda y: both.to_source(step.z, y)
