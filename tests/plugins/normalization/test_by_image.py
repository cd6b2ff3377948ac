"""Layer, group and instance norm, computed for each image and each class's network separately."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gankit import InputError
from gankit_plugins.normalization.group_norm import GroupNorm
from gankit_plugins.normalization.instance_norm import InstanceNorm
from gankit_plugins.normalization.layer_norm import LayerNorm

EPS = 1e-5


def built(plugin, layer, features, **settings):
    return plugin(plugin.Config(**settings)).normalization(layer=layer, features=features)


def standardised(block):
    values = block.flatten().tolist()
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return (block - mean) / (variance + EPS) ** 0.5


def by_blocks(x, size):
    """Return each image with every block of `size` channels standardised."""
    return torch.stack([torch.cat([standardised(part) for part in image.split(size)]) for image in x])


@pytest.mark.parametrize("networks", [1, 3])
@pytest.mark.parametrize(
    ("plugin", "settings", "channels_together"),
    [(LayerNorm, {}, 4), (GroupNorm, {"groups": 2}, 2), (GroupNorm, {"groups": 6}, 2), (InstanceNorm, {}, 1)],
)
@pytest.mark.parametrize("shuffled", [False, True])
def test_equation_by_a_naive_loop(networks, plugin, settings, channels_together, shuffled):
    features = 4 * networks
    layer = nn.Conv2d(2 * networks, features * (4 if shuffled else 1), 3, padding=1, groups=networks)
    layer = nn.Sequential(layer, nn.PixelShuffle(2)) if shuffled else layer
    normalised = built(plugin, layer, features, **settings)
    x = torch.randn(2, 2 * networks, 4, 4)
    torch.testing.assert_close(normalised(x), by_blocks(layer(x), channels_together), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("plugin", "size"), [(LayerNorm, 6), (GroupNorm, 3)])
def test_linear_layers(plugin, size):
    layer = nn.Linear(3, 6)
    settings = {"groups": 2} if plugin is GroupNorm else {}
    x = torch.randn(4, 3)
    torch.testing.assert_close(built(plugin, layer, 6, **settings)(x), by_blocks(layer(x), size), atol=1e-5, rtol=1e-4)


def test_instance_norm_of_a_linear_layer_is_refused():
    with pytest.raises(InputError, match="instance_norm: a fully connected layer has no pixels"):
        built(InstanceNorm, nn.Linear(3, 6), 6)


def test_group_norm_of_single_values_is_refused():
    with pytest.raises(InputError, match="a fully connected layer with 4 outputs in 4 groups has one value per group"):
        built(GroupNorm, nn.Linear(3, 4), 4, groups=8)


@pytest.mark.parametrize("plugin", [LayerNorm, GroupNorm, InstanceNorm])
def test_settings_out_of_range_are_refused(plugin):
    assert not plugin.batch_coupled
    with pytest.raises(ValidationError):
        plugin.Config(eps=0)
    if plugin is GroupNorm:
        with pytest.raises(ValidationError):
            GroupNorm.Config(groups=0)
