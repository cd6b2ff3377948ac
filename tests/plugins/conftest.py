"""Fixtures for tests of plugins: tiny runs and networks."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gankit import ClassCondition, Recipe, Spec
from gankit.plugin.registry import Registry
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.launch import start
from gankit.training.reporter import Reporter

BY_CLASS = {
    "train": {"iterations": 4, "batch_size": 4, "discriminator_steps": 2, "device": "cpu"},
    "output": {"log_every": 1, "checkpoint_every": 2, "sample_every": 4, "sample_count": 2},
    "data": {"use": "shapes", "resolution": 8, "count": 12, "kinds": ["circle", "ring"]},
    "generator": {"use": "igan_vn", "channels": 2},
    "discriminator": {"use": "igan_per_class", "width": 2},
    "loss": {"use": "igan_label"},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
}
UNCONDITIONAL = merge(
    BY_CLASS,
    {
        "generator": {"use": "igan", "channels": 2},
        "discriminator": {"use": "igan", "width": 2},
        "loss": {"use": "non_saturating"},
    },
)
BASES = {"igan_vn": BY_CLASS, "igan": UNCONDITIONAL}


def train(raw, out):
    """Train a recipe on disk and return its run directory."""
    return start(Recipe.from_dict(raw), out, Reporter())[0].path


@pytest.fixture(scope="module", autouse=True)
def installed_plugins():
    """The installed plugins, read once, because every recipe needs them."""
    registry = Registry.installed()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "installed", lambda: registry)
        yield


@pytest.fixture
def plain_recipe():
    """Function from the name of a base to its tiny recipe, as nested dictionaries."""
    return lambda base="igan_vn": merge(BASES[base], {})


@pytest.fixture
def assembled():
    """Function that assembles a tiny recipe with changes."""
    return lambda change, base="igan": assemble(Recipe.from_dict(merge(BASES[base], change)))


@pytest.fixture
def start_run(assembled):
    """Function that returns a run of a tiny recipe with changes, ready for its first iteration."""

    def make(change, base="igan"):
        run = assembled(change, base)
        run.load_data()
        run.start()
        return run

    return make


# Networks

NORMALIZATION = {
    "none": lambda player, layer, features: layer,
    "batch_norm": lambda player, layer, features: nn.Sequential(
        layer, (nn.BatchNorm1d if isinstance(layer, nn.Linear) else nn.BatchNorm2d)(features)
    ),
}


@pytest.fixture
def spec_of():
    """Function that returns a spec of square images with a normalisation by name."""

    def make(normalization="none", channels=3, resolution=32, classes=0, **facts):
        facts["condition"] = ClassCondition.of(tuple(map(str, range(classes))))
        return Spec(shape=(channels, resolution, resolution), normalize=NORMALIZATION[normalization], **facts)

    return make


@pytest.fixture
def tensors_of_class():
    """Function that returns the tensors of class k of a network for N classes, in the shapes of one class.

    Grouped convolutions, transposed or not, those before a PixelShuffle, and batch norms have the classes along their
    first dimension. A tensor that has the same shape in both networks is shared by all classes.
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
def perturbed():
    """Function that gives every parameter and buffer of a network different values, so that mix-ups are detected."""

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
    """Function that returns the names of biases directly before a batch norm, which removes them.

    With a PixelShuffle in between, f^2 biases belong to one channel, and only their mean is removed.
    """

    def names(network):
        return {
            f"{name}.0.bias"
            for name, module in network.named_modules()
            if [type(layer) for layer in module.children()]
            in ([nn.Conv2d, nn.BatchNorm2d], [nn.ConvTranspose2d, nn.BatchNorm2d], [nn.Linear, nn.BatchNorm1d])
        }

    return names


class _NoWaiting(TorchDispatchMode):
    """Context that fails on operations for which the CPU waits for a GPU."""

    WAITING = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "_unique2", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        assert name not in self.WAITING, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_waiting():
    """Context that fails on operations for which the CPU waits for a GPU."""
    return _NoWaiting()
