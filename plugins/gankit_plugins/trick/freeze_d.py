"""Frozen first layers of the discriminator, for fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from pydantic import Field
from torch import nn

from gankit import InputError, Player, Plugin, RecipeInfo, Run, Settings, hookimpl
from gankit_plugins.layers.probe import probe


def finished_modules(network: nn.Module, run: Run) -> list[str]:
    """Return the names of all modules of a discriminator in the order in which they finish.

    Modules that are not called are left out, and so are parametrisations of weights.
    """
    finished: list[str] = []

    def record(name: str, *_: Any) -> None:
        finished.append(name)

    names = [name for name, _ in network.named_modules() if "parametrizations" not in name.split(".")]
    handles = [network.get_submodule(name).register_forward_hook(partial(record, name)) for name in names]
    probe(network, run)
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(finished))


def owner(parameter: str) -> str:
    """Return the name of the module that a parameter belongs to. A parametrised weight belongs to its layer."""
    return parameter.rpartition(".")[0].partition(".parametrizations.")[0]


def first_parameters(network: nn.Module, run: Run, count: int) -> list[nn.Parameter]:
    """Return the parameters of a discriminator's first `count` layers with a weight matrix, counted from the image.

    They include the parameters of modules between these layers and the next layer, such as normalisations.

    Raises:
        InputError: the discriminator has no further layer with a weight matrix.
    """
    parameters = dict(network.named_parameters())
    with_matrix = {owner(name) for name, parameter in parameters.items() if parameter.dim() > 1}
    order = finished_modules(network, run)
    layers = [name for name in order if name in with_matrix]
    if count >= len(layers):
        raise InputError(
            f"layers = {count}, and the discriminator has {len(layers)} layers with weights ({', '.join(layers)}), of "
            f"which one must be trained; give {len(layers) - 1} or less"
        )
    frozen = set(order[: order.index(layers[count])])
    return [parameter for name, parameter in parameters.items() if owner(name) in frozen]


class FreezeD(Plugin):
    """Frozen first layers of the discriminator, which recognise features that old and new images share.

    Source: Mo 2020 (Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs). The layers keep the
    weights of a trained discriminator, which the recipe names in `init.discriminator`. The last layers and the
    generator are trained as usual.

    Here the layers are all modules with a weight matrix, such as convolutions, in the order in which D calls them. The
    first one gets the image. The number of layers is that of single convolutions: a block with two convolutions and a
    shortcut has three. Modules between these layers, such as normalisations, are frozen too, but batch norm continues
    to update its statistics. Layers that later tricks of the recipe add are not frozen.

    When to use: to train on few images, from a trained network of similar images.
    When not: from random weights, which would remain in the first layers.
    """

    name = "freeze_d"

    class Config(Settings):
        layers: int = Field(3, ge=1, description="number of frozen layers with weights, counted from the image")

    config: Config

    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> Iterable[str]:
        if "discriminator" not in recipe.to_dict().get("init", {}):
            yield (
                "the frozen layers of the discriminator keep random weights; name a trained discriminator in "
                "init.discriminator"
            )

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module, run: Run | None) -> nn.Module:
        if player == "discriminator":
            assert run is not None, "a discriminator is built only in a run"
            for parameter in first_parameters(network, run, self.config.layers):
                parameter.requires_grad_(False)
        return network
