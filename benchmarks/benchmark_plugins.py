"""Plugins for benchmarks only: random images, and tricks that change how a run computes but not its result."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from gankit import ClassCondition, Dataset, DiscriminatorOutput, Player, Plugin, Settings, Step, hookimpl
from gankit.training.run import TrainingRun


class RandomImages(Plugin):
    """Random images in memory. The content of the images does not change the speed."""

    name, kind = "random_images", "data"

    class Config(Settings):
        count: int = Field(6000, ge=1, description="number of images, equally many of each class")
        channels: int = Field(1, ge=1, description="channels of an image")
        resolution: int = Field(28, ge=1, description="pixels of a side")
        classes: int = Field(10, ge=0, description="number of classes; 0: no labels")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        names = tuple(str(k) for k in range(c.classes))
        return Dataset(
            (c.channels, c.resolution, c.resolution),
            ClassCondition.of(names),
            self._read,
        )

    def _read(self) -> tuple[Tensor, Tensor | None]:
        c = self.config
        generator = torch.Generator().manual_seed(0)
        shape = (c.count, c.channels, c.resolution, c.resolution)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        return images, torch.arange(c.count) % c.classes if c.classes else None


class Idle(Plugin):
    """Implements every hook of an iteration and changes nothing."""

    name, kind = "idle", "trick"

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: 1.0

    @hookimpl
    def discriminator_inputs(self, images: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return images, condition

    @hookimpl
    def after_iteration(self) -> None: ...

    before_d_step = before_g_step = after_backward = after_d_step = after_g_step = after_iteration


class Trace(Plugin):
    """Writes checksums of the images, gradients and weights of every step, one file for each process.

    Two runs differ first where their checksums differ first. The folder is in the environment variable `TRACE`, because
    a setting would make the recipes of the runs different.
    """

    name, kind = "trace", "trick"

    @hookimpl
    def on_start(self) -> None:
        self.folder, self.place = Path(os.environ["TRACE"]), ""
        self.folder.mkdir(parents=True, exist_ok=True)

    @hookimpl
    def before_d_step(self, step: Step, run: TrainingRun) -> None:
        self.place = f"{run.iteration + 1}, {step.player} step {sum(run.step_counts.values()) + 1}"
        self._write({"real images": step.real, "fake images": step.fake})

    before_g_step = before_d_step

    @hookimpl
    def after_backward(self, player: Player, run: TrainingRun) -> None:
        self._write({f"gradient of {n}": p.grad for n, p in run.networks[player].named_parameters()})

    @hookimpl
    def after_d_step(self, run: TrainingRun, step: Step) -> None:
        self._write({f"weight {n}": p for n, p in run.networks[step.player].named_parameters()})

    after_g_step = after_d_step

    def _write(self, tensors: dict[str, Tensor | None]) -> None:
        rows = {
            f"{self.place}, {name}": crc32(tensor.detach().float().cpu().contiguous().numpy())
            for name, tensor in tensors.items()
            if tensor is not None
        }
        with open(self.folder / f"{os.getpid()}.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(rows) + "\n")


class OneByOne(Plugin):
    """Computes grouped convolutions one group at a time, as N separate networks would."""

    name, kind = "one_by_one", "trick"

    @hookimpl
    def wrap_network(self, network: nn.Module) -> nn.Module:
        for module in list(network.modules()):
            for name, layer in module.named_children():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.groups > 1:
                    setattr(module, name, UngroupedConv(layer))
        return network


class UngroupedConv(nn.Module):
    """Grouped convolution, computed as a loop over its groups."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output for x (B, groups * C, H, W), up to rounding."""
        layer = self.layer
        assert layer.bias is not None, "the measured networks have biases"
        weights, biases = layer.weight.chunk(layer.groups), layer.bias.chunk(layer.groups)
        parts = zip(x.chunk(layer.groups, 1), weights, biases, strict=True)
        conv = conv2d if isinstance(layer, nn.Conv2d) else conv_transpose2d
        return torch.cat([conv(part, w, b, layer.stride, layer.padding) for part, w, b in parts], 1)


class OnePass(Plugin):
    """Runs D once on real and generated images together. Not for batch norm in D, whose statistics would mix both."""

    name, kind = "one_pass", "trick"

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        (real, labels), (fake, _) = step.real_inputs, step.fake_inputs
        both = step.discriminate(torch.cat([real, fake]), None if labels is None else torch.cat([labels, labels]))
        real_output, fake_output = (
            DiscriminatorOutput(*parts) for parts in zip(*(of.chunk(2) for of in both), strict=True)
        )
        vars(step).update(real_output=real_output, fake_output=fake_output)


class NotFrozen(Plugin):
    """Leaves the gradients of D's weights on in the G step, where they are not needed, as most loops do."""

    name, kind = "not_frozen", "trick"

    @hookimpl
    def before_g_step(self, run: TrainingRun) -> None:
        for weight in run.parameters["discriminator"]:
            weight.requires_grad_(True)

    @hookimpl
    def after_backward(self, run: TrainingRun, player: Player) -> None:
        if player == "generator":
            run.optimizers["discriminator"].zero_grad()


class Compiled(Plugin):
    """Compiles both networks with torch.compile. Not for gradient penalties: it cannot differentiate twice."""

    name, kind = "compiled", "trick"

    @hookimpl
    def wrap_network(self, network: nn.Module) -> nn.Module:
        network.compile()
        return network
