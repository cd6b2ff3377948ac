"""A network's weights as matrices."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def layers_of(network: nn.Module) -> Iterator[nn.Module]:
    """The convolutions and linear layers of a network."""
    return (module for module in network.modules() if isinstance(module, LAYERS))


def filters(layer: nn.Module) -> Tensor:
    """A layer's weight as (groups, m, n): in each group m filters, one for an output channel, of n numbers.

    Networks for each class lie side by side as the groups of one layer.
    """
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    assert isinstance(weight, Tensor)
    if not isinstance(layer, TRANSPOSED):
        return weight.reshape(groups, weight.shape[0] // groups, -1)
    # (in, out / groups, ...): the groups lie along the inputs.
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    return weight.reshape(groups, inputs, outputs, -1).transpose(1, 2).reshape(groups, outputs, -1)
