"""Functions that build the plugins, hooks and networks of a recipe."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from gankit.errors import PluginError, Problem, RecipeError, recipe_errors
from gankit.plugin.base import Plugin
from gankit.plugin.component import Component
from gankit.plugin.hooks import Hooks
from gankit.plugin.protocols import Run
from gankit.plugin.slots import Player
from gankit.plugin.spec import Spec


def build_plugins(components: Mapping[str, Component], source: str) -> tuple[dict[str, Plugin], Hooks]:
    """Build all plugins of a recipe. Return the plugins as a dict by recipe key, such as `loss`, and their hooks.

    Args:
        components: the plugin classes of the recipe with their settings, by recipe key, in the order of the recipe.
        source: name of the recipe's file, for error messages.

    Raises:
        RecipeError: a plugin cannot be built, or a hook of a plugin has an unknown name or argument.
    """
    plugins = {}
    for key, component in components.items():
        with recipe_errors(source, key):
            plugins[key] = component.build()
    try:
        return plugins, Hooks(plugins)
    except PluginError as error:
        key, _, message = str(error).partition(": ")
        raise RecipeError(source, [Problem(key, message)]) from error


def build_network(
    hooks: Hooks, player: Player, spec: Spec, run: Run | None, source: str
) -> tuple[nn.Module, list[str]]:
    """Build the network of one player (generator or discriminator), and apply all `wrap_network` hooks to it.

    Return the network, and the recipe keys of the plugins whose `wrap_network` hook has changed the network's
    structure. A plugin that only sets initial weights is not listed.

    Args:
        run: run for which the network is built. None when a saved generator is rebuilt.
        source: name of the recipe's file, for error messages.

    Raises:
        RecipeError: no plugin or more than one plugin builds the network, or a plugin rejects `spec`.
    """
    hook = "build_generator" if player == "generator" else "build_discriminator"
    with recipe_errors(source, player):
        own_spec = spec if player == "generator" else spec.packed()
        network = hooks.one(hook, own_spec, run)
    wrapped_by = []
    for implementation in hooks.of("wrap_network", player):
        before = structure(network)
        with recipe_errors(source, implementation.key):
            wrapped = implementation.call(player, network, run, own_spec)
        network = network if wrapped is None else wrapped
        if structure(network) != before:
            wrapped_by.append(implementation.key)
    return network, wrapped_by


def structure(network: nn.Module) -> list[tuple[object, ...]]:
    """Return a description of a network's structure. If the structure changes, the description changes too.

    The description contains the modules with their types and attributes, the names of their parameters and buffers, and
    the number of their forward hooks.
    """
    return [
        (
            name,
            type(module),
            [(k, v if isinstance(v, (bool, int, float, str)) else id(v)) for k, v in vars(module).items()],
            [*module._parameters, *module._buffers],
            len(module._forward_hooks) + len(module._forward_pre_hooks),
        )
        for name, module in network.named_modules()
    ]


def to_channels_last(network: nn.Module) -> None:
    """Convert the 4-dimensional parameters and buffers of a network to the channels-last memory format."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
