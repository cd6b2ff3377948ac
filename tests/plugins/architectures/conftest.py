"""What the architectures' tests share: specs, one class's share of a network by class, a trap for host syncs."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gankit import Spec

NORMALIZATION = {
    "none": lambda player, layer, features: layer,
    "batch_norm": lambda player, layer, features: nn.Sequential(layer, nn.BatchNorm2d(features)),
}


@pytest.fixture
def spec_of():
    """Spec(...) with a normalisation by name."""
    return lambda normalization="none", **facts: Spec(normalize=NORMALIZATION[normalization], **facts)


@pytest.fixture
def of_class():
    """The entries of class k among a network's tensors by name, shaped as those of a network of one class.

    Convolutions with groups, transposed or not, those before a PixelShuffle, and batch norms all lay the classes out
    one after the other along their first dimension. (A transposed convolution's first dimension is its inputs, and
    those come by group too.) What has the same shape in both networks is shared by all classes.
    """

    def share(tensors, single, classes, k):
        shares = {}
        for name, tensor in tensors.items():
            shape = single[name].shape
            if tensor.shape == shape:
                shares[name] = tensor
            else:
                assert tensor.shape == (classes * shape[0], *shape[1:]), name
                shares[name] = tensor[k * shape[0] : (k + 1) * shape[0]]
        assert shares.keys() == single.keys()
        return shares

    return share


@pytest.fixture
def roughen():
    """Gives a network's every parameter and buffer some value that no other has, so that a mix-up shows."""

    def change(network):
        torch.manual_seed(7)
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("running_var"):
                tensor.data.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.data.add_(torch.randn_like(tensor) * 0.1)
        return network

    return change


@pytest.fixture
def before_batch_norm():
    """Names of the biases that a batch norm takes out again: its layer's, when it comes right behind the layer.

    With a PixelShuffle in between it does not: there f^2 biases fall into one channel, and only their mean goes.
    """

    def names(network):
        return {
            f"{name}.0.bias"
            for name, module in network.named_modules()
            if [type(layer) for layer in module.children()]
            in ([nn.Conv2d, nn.BatchNorm2d], [nn.ConvTranspose2d, nn.BatchNorm2d])
        }

    return names


class _NoWaiting(TorchDispatchMode):
    """Fails on what makes the CPU wait for a GPU: a value that Python reads, or a size that depends on values."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "_unique2", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        assert name not in self.WAITING, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_waiting():
    return _NoWaiting()
