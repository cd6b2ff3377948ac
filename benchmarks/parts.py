"""Parts that only benchmarks use: images that show nothing, tricks that change nothing but what is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d

from gankit import Dataset, DiscriminatorOutput, Player, Plugin, Settings, Step, hookimpl
from gankit.training.run import TrainingRun

if TYPE_CHECKING:
    pass


class RandomImages(Plugin):
    """Noise in memory. What images show costs nothing and changes nothing in a benchmark."""

    name, kind = "random_images", "data"

    class Config(Settings):
        count: int = Field(6000, ge=1, description="images in all, the same number of each class")
        channels: int = Field(1, ge=1, description="of an image")
        resolution: int = Field(28, ge=1, description="pixels")
        classes: int = Field(10, ge=0, description="0: no labels")

    config: Config

    @hookimpl
    def load_data(self) -> Dataset:
        c = self.config
        return Dataset(c.channels, c.resolution, tuple(str(k) for k in range(c.classes)), self._read)

    def _read(self) -> tuple[Tensor, Tensor | None]:
        c = self.config
        randomness = torch.Generator().manual_seed(0)
        shape = (c.count, c.channels, c.resolution, c.resolution)
        images = torch.randint(0, 256, shape, generator=randomness, dtype=torch.uint8)
        return images, torch.arange(c.count) % c.classes if c.classes else None


class Idle(Plugin):
    """Has a hand in everything that happens in an iteration, and leaves it as it is."""

    name, kind = "idle", "trick"

    @hookimpl
    def lr_schedule(self) -> Callable[[int], float]:
        return lambda t: 1.0

    @hookimpl
    def before_d_step(self) -> None: ...

    @hookimpl
    def before_g_step(self) -> None: ...

    @hookimpl
    def discriminator_inputs(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return images, labels

    @hookimpl
    def after_backward(self) -> None: ...

    @hookimpl
    def after_d_step(self) -> None: ...

    @hookimpl
    def after_g_step(self) -> None: ...

    @hookimpl
    def after_iteration(self) -> None: ...


class OneByOne(Plugin):
    """Computes grouped convolutions group after group, as N networks written one beside the other would."""

    name, kind = "one_by_one", "trick"

    @hookimpl
    def wrap_network(self, network: nn.Module) -> nn.Module:
        for module in list(network.modules()):
            for name, layer in module.named_children():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.groups > 1:
                    setattr(module, name, GroupAfterGroup(layer))
        return network


class GroupAfterGroup(nn.Module):
    """A grouped convolution as a loop over its groups."""

    def __init__(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, groups * C, H, W) to what the layer itself would give, up to rounding."""
        layer = self.layer
        assert layer.bias is not None, "the networks that are measured have biases"
        parts = zip(
            *(x.chunk(layer.groups, 1), layer.weight.chunk(layer.groups), layer.bias.chunk(layer.groups)), strict=True
        )
        if isinstance(layer, nn.Conv2d):
            done = [conv2d(part, w, b, layer.stride, layer.padding) for part, w, b in parts]
        else:
            done = [conv_transpose2d(part, w, b, layer.stride, layer.padding) for part, w, b in parts]
        return torch.cat(done, 1)


class OnePass(Plugin):
    """D judges real and generated images in one pass, twice as large. Batch norm would see both, so not beside it."""

    name, kind = "one_pass", "trick"

    @hookimpl
    def before_d_step(self, step: Step) -> None:
        (real, labels), (fake, _) = step.real_inputs, step.fake_inputs
        both = step.discriminate(torch.cat([real, fake]), None if labels is None else torch.cat([labels, labels]))
        on_real, on_fake = (DiscriminatorOutput(*parts) for parts in zip(*(of.chunk(2) for of in both), strict=True))
        vars(step).update(real_output=on_real, fake_output=on_fake)


class NotFrozen(Plugin):
    """D's weights receive gradients in G's turn, which nobody asks for, as in most loops."""

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
    """Both networks through torch.compile. It cannot differentiate twice, so not beside a penalty."""

    name, kind = "compiled", "trick"

    @hookimpl
    def wrap_network(self, network: nn.Module) -> nn.Module:
        network.compile()
        return network
