"""Networks for video: shapes of the feature maps as in the papers, odd sizes, conditions, saved generators."""

import itertools
import math

import pytest
import torch
from torch import nn

from gankit import ClassCondition, InputError, Recipe, Spec, TokenCondition, VectorCondition
from gankit.recipe.bundled import find_recipe
from gankit.training.assembly import assemble
from gankit_plugins.discriminator.vgan import VganDiscriminator, VganDiscriminatorNetwork
from gankit_plugins.generator.tgan import Tgan, TganGenerator, doubled_lengths
from gankit_plugins.generator.vgan import Vgan, VganGenerator
from gankit_plugins.layers.vgan import sizes_of

CLASSES, NUMBERS = ClassCondition(tuple("abc")), VectorCondition(("right", "down"))
NETWORKS = {"vgan": lambda spec: VganGenerator(spec, 4), "tgan": lambda spec: TganGenerator(spec, 2, 5)}


SMALL_TGAN = ["generator.use=tgan", "generator.width=2", "discriminator.width=2", "data.count=16", "data.frames=4"]
SMALL_TGAN += ["normalization.generator=conditional_batch_norm", "train.batch_size=4", "train.device=cpu"]


def spec_of(shape, condition=None, **facts):
    return Spec(shape=shape, condition=condition, **{"latent_size": 6} | facts)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def outputs(network, *inputs):
    """Return the shapes of the outputs of all (transposed) convolutions, in the order of the calls."""
    shapes = []
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    network(*inputs)
    return shapes


def test_vgan_has_the_feature_maps_of_the_paper():
    """Vondrick 2016, for clips of 32 frames of 64x64."""
    maps = [(512, 2, 4, 4), (256, 4, 8, 8), (128, 8, 16, 16), (64, 16, 32, 32), (3, 32, 64, 64)]
    with torch.device("meta"):
        spec = spec_of((3, 32, 64, 64), latent_size=100)
        generator, discriminator = VganGenerator(spec, 64), VganDiscriminatorNetwork(spec, 64)
        assert outputs(generator, torch.empty(2, 100), None) == maps
        assert outputs(discriminator, torch.empty(2, 3, 32, 64, 64), None) == maps[3::-1]
    channels = [512, 256, 128, 64, 3]
    layers = [a * b * 64 + b for a, b in itertools.pairwise(channels)]
    assert parameters(generator) == 100 * 512 * 2 * 4 * 4 + 512 + sum(layers)
    back = [a * b * 64 + a for a, b in itertools.pairwise(channels)]
    assert parameters(discriminator) == sum(back) + 512 * 2 * 4 * 4 + 1


def test_tgan_has_the_feature_maps_of_the_paper():
    """Saito 2017, table 1, for clips of 16 frames of 64x64."""
    with torch.device("meta"):
        spec = spec_of((3, 16, 64, 64), latent_size=100)
        generator = TganGenerator(spec, 32, 100)
        shapes = outputs(generator, torch.empty(2, 100), None)
        assert generator.content[0].out_features == generator.motion[0].out_features == 256 * 4 * 4
        discriminator = VganDiscriminatorNetwork(spec, 64)
        clips = torch.empty(2, 3, 16, 64, 64)
        assert outputs(discriminator, clips, None)[-1] == (512, 1, 4, 4)
    assert shapes[:5] == [(512, 1), (256, 2), (128, 4), (128, 8), (100, 16)]
    assert shapes[5:] == [(256, 8, 8), (128, 16, 16), (64, 32, 32), (32, 64, 64), (3, 64, 64)]


@pytest.mark.parametrize("condition", [None, CLASSES, NUMBERS])
@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (3, 7, 9, 13), (2, 5, 28, 11)])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_and_condition(name, shape, condition):
    torch.manual_seed(0)
    spec = spec_of(shape, condition)
    rows = None if condition is None else condition.blank(3) if condition is CLASSES else torch.randn(3, 2)
    generator, discriminator = NETWORKS[name](spec), VganDiscriminatorNetwork(spec, 4)
    z = torch.randn(3, 6)
    clips = generator(z, rows)
    assert clips.shape == (3, *shape)
    logits, features, _ = discriminator(clips, rows)
    assert logits.shape == (3,)
    assert features.shape == (3, discriminator.head.in_features)
    logits.sum().backward()
    assert all(p.grad is not None for network in (generator, discriminator) for p in network.parameters())
    if condition is not None:
        other = rows.roll(1, 0)
        assert not torch.equal(generator(z, other), clips)
        assert not torch.equal(discriminator(clips, other).logits, logits)


def test_frames_of_tgan_share_z0_and_differ_by_z1():
    """Frame t is G1(z0, z1_t): the same as the frame that G1 computes alone."""
    torch.manual_seed(1)
    generator = TganGenerator(spec_of((1, 4, 8, 8)), 2, 5)
    z = torch.randn(2, 6)
    clips, z1 = generator(z, None), generator.temporal(z)
    assert z1.abs().max() <= 1
    for n in range(2):
        for t in range(4):
            maps = torch.cat([generator.content(z[n : n + 1]), generator.motion(z1[n : n + 1, :, t])], 1)
            assert torch.allclose(generator.to_frame(generator.body(maps))[0], clips[n, :, t], atol=1e-6)


@pytest.mark.parametrize(("frames", "lengths"), [(2, [1, 2]), (5, [1, 2, 5]), (16, [1, 2, 4, 8, 16]), (3, [1, 3])])
def test_lengths_in_time(frames, lengths):
    assert doubled_lengths(frames) == lengths


def test_sizes():
    assert sizes_of(spec_of((3, 16, 32, 32)), "vgan") == [(16, 32, 32), (8, 16, 16), (4, 8, 8), (2, 4, 4)]
    assert sizes_of(spec_of((3, 3, 9, 40)), "vgan") == [(3, 9, 40), (1, 4, 20)]
    for shape in ((3, 1, 8, 8), (3, 8, 3, 8)):
        with pytest.raises(InputError, match="vgan needs at least 2 frames of at least 4x4 pixels, and the clips have"):
            sizes_of(spec_of(shape), "vgan")


@pytest.mark.parametrize("plugin", [Vgan, Tgan, VganDiscriminator])
def test_other_conditions_are_refused(plugin):
    spec = spec_of((1, 4, 8, 8), TokenCondition(("dark", "bright"), 3))
    with pytest.raises(InputError, match=r"gan needs classes or numbers as the condition, and the data have .*; use"):
        getattr(plugin(plugin.Config()), f"build_{plugin.kind}")(spec)


def test_tgan_refuses_conditional_batch_norm():
    recipe = Recipe.load(find_recipe("video_shapes"), SMALL_TGAN)
    with pytest.raises(InputError, match="conditional_batch_norm: a layer gets"):
        assemble(recipe)


def test_initial_weights():
    network = VganDiscriminatorNetwork(spec_of((3, 16, 32, 32)), 64)
    weights = torch.cat([p.flatten() for name, p in network.named_parameters() if name.endswith("weight")])
    assert math.isclose(weights.std().item(), 0.01, rel_tol=0.02)
