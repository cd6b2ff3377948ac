"""Normalisation: conditional batch norm."""

import copy
import math

import pytest
import torch
from torch import nn

from gankit import ClassCondition, Spec
from gankit.errors import RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.runtime.sync_batch_norm import SharedBatchNorm, convert_sync_batch_norm
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run
from gankit.training.update import draw_step, train_iteration
from gankit_plugins.generator.dcgan import DcganGenerator
from gankit_plugins.normalization.conditional_batch_norm import (
    ClassConditionalGenerator,
    ConditionalBatchNorm,
    ConditionalBatchNormLayer,
    CurrentLabels,
)

DCGAN = {
    "generator": {"use": "dcgan", "width": 4},
    "normalization": {"generator": {"use": "conditional_batch_norm"}},
    "tricks": {"projection": {}},
}
"""Changes to the tiny recipe, whose data have two classes."""


def layers(network):
    return [module for module in network.modules() if isinstance(module, ConditionalBatchNormLayer)]


@pytest.fixture
def run(start_run, perturbed):
    """Function that returns a run whose generator has different scales and shifts for each class."""

    def make(change=None):
        run = start_run(DCGAN | (change or {}))
        perturbed(run.generator)
        return run

    return make


@pytest.mark.parametrize("pixels", [(), (2, 3)])
def test_layer_by_a_naive_loop(pixels):
    torch.manual_seed(0)
    eps, labels = 1e-3, [2, 0, 2, 1]
    batch_norm = nn.BatchNorm2d if pixels else nn.BatchNorm1d
    layer = ConditionalBatchNormLayer(batch_norm(5, eps=eps, affine=False), 5)
    source = CurrentLabels()
    layer.connect(source, 3)
    assert layer.weight.shape == layer.bias.shape == (3, 5)
    layer.double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    source.labels = torch.tensor(labels)
    x = torch.randn(4, 5, *pixels, dtype=torch.float64)
    y = layer(x)
    for c in range(5):
        values = x[:, c].flatten().tolist()
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / len(values) + eps)
        for i, label in enumerate(labels):
            expected = layer.weight[label, c] * (x[i, c] - mean) / deviation + layer.bias[label, c]
            torch.testing.assert_close(y[i, c], expected)


def test_gradient_reaches_only_the_classes_of_the_batch():
    source = CurrentLabels()
    layer = ConditionalBatchNormLayer(nn.BatchNorm2d(2, affine=False), 2)
    layer.connect(source, 3)
    source.labels = torch.tensor([0, 2, 2])
    layer(torch.randn(3, 2, 4, 4)).square().sum().backward()
    for p in (layer.weight, layer.bias):
        assert p.grad.abs().sum(1).gt(0).tolist() == [True, False, True]


@pytest.mark.parametrize("training", [True, False])
def test_initial_generator_equals_that_with_batch_norm(assembled, training):
    """Both have the same seed, and the scales and shifts of all classes begin as 1 and 0."""
    ours = assembled(DCGAN).generator.train(training)
    without = {"normalization": {"generator": {"use": "batch_norm"}}, "tricks": {}}
    plain = assembled(DCGAN | without).generator.train(training)
    z, labels = torch.randn(4, 100), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(ours(z, labels), plain(z, labels))


def test_number_of_parameters_of_a_generator_for_mnist():
    """The layers of DCGAN with width 32 for 28x28 pixels have 128, 64 and 32 channels, besides the image."""
    plugin = ConditionalBatchNorm(ConditionalBatchNorm.Config())
    condition = ClassCondition(tuple("0123456789"))
    spec = Spec((1, 28, 28), condition, normalize=lambda player, layer, features: plugin.normalization(layer, features))
    network = plugin.wrap_network(DcganGenerator(spec, 32), spec)
    norms = sum(p.numel() for name, p in network.named_parameters() if p.shape[:1] == (10,))
    assert norms == 2 * 10 * (128 + 64 + 32)
    weights = 100 * 128 * 4 * 4 + 25 * (128 * 64 + 64 * 32 + 32 * 1)
    biases = 128 + 64 + 32 + 1
    assert sum(p.numel() for p in network.parameters()) == norms + weights + biases


def test_unconditional_generator_becomes_conditional(run):
    run = run()
    assert run.spec.conditional
    G, z = run.generator.eval(), torch.randn(1, 100)
    images = G(z.expand(2, 100), torch.tensor([0, 1]))
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_in_evaluation_mode_each_image_is_independent_of_its_batch(run):
    G = run().generator.eval()
    z, labels = torch.randn(5, 100), torch.tensor([0, 1, 1, 0, 1])
    alone = torch.cat([G(z[i : i + 1], labels[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(G(z, labels), alone, atol=1e-5, rtol=1e-4)


def test_generator_with_a_class_input_gets_the_labels_too(run):
    run = run({"generator": {"use": "conditional_dcgan", "width": 4}})
    G, z, labels = run.generator.eval(), torch.randn(1, 100).expand(2, 100), torch.tensor([0, 1])
    for layer in layers(G):
        for p in (layer.weight, layer.bias):
            p.data.copy_(p[:1].expand_as(p))
    images = G(z, labels)
    assert (images[0] - images[1]).abs().max() > 1e-4


@pytest.mark.parametrize("use", ["mlp", "igan", "infogan"])
def test_linear_layers_and_other_generators(start_run, use):
    small = {"mlp": {"hidden": [6, 5]}, "igan": {"channels": 2}, "infogan": {"width": 2, "units": 5}}[use]
    run = start_run(DCGAN | {"generator": {"use": use, **small}})
    train_iteration(run)
    # Each class has got a gradient.
    assert all((layer.bias != 0).any(1).all() for layer in layers(run.generator))


def test_labels_are_removed_after_the_forward_pass(run):
    G = run().generator
    G(torch.randn(4, 100), torch.tensor([0, 1, 0, 1]))
    assert G.source.labels is None
    with pytest.raises(IndexError):
        G(torch.randn(4, 100), torch.tensor([0, 1, 0, 7]))
    assert G.source.labels is None


def test_copy_is_whole_and_apart(run):
    G = run().generator.eval()
    copied = copy.deepcopy(G)
    assert {id(layer.source) for layer in layers(copied)} == {id(copied.source)} != {id(G.source)}
    z, labels = torch.randn(2, 100), torch.tensor([1, 0])
    assert torch.equal(copied(z, labels), G(z, labels))
    layers(copied)[0].weight.data[1].add_(1)
    changed = (copied(z, labels) != G(z, labels)).flatten(1).any(1)
    assert changed.tolist() == [True, False]


@pytest.mark.parametrize("average", [False, True])
def test_generator_file_draws_the_classes(run, average, tmp_path):
    run = run({"tricks": {"projection": {}} | ({"moving_average": {"decay": 0.5}} if average else {})})
    train_iteration(run)
    save_generator(run, tmp_path / "generator.safetensors")
    sampler = Sampler.load(tmp_path / "generator.safetensors", "cpu")
    assert sampler.class_names == ("circle", "ring")
    assert sampler.card["needed"] == ["latent", "generator", "normalization.generator"]
    own = Sampler.of_run(run)
    for requested in ({}, {"class": 0}, {"class": 1}):
        assert torch.equal(sampler.sample(4, requested)[0], own.sample(4, requested)[0])
    assert not torch.equal(own.sample(4, {"class": 0})[0], own.sample(4, {"class": 1})[0])


def test_scales_shifts_and_statistics_are_averaged(start_run):
    run = start_run(DCGAN | {"tricks": {"projection": {}, "moving_average": {"decay": 0.1}}})
    before = {name: t.clone() for name, t in run.generator.state_dict().items()}
    train_iteration(run)
    after, average = run.generator.state_dict(), run.sampled_generator().state_dict()
    names = [n for n in after if n.endswith(("1.weight", "1.bias", "running_mean", "running_var"))]
    assert len(names) == 4 * len(layers(run.generator))
    for name in names:
        torch.testing.assert_close(average[name], 0.1 * before[name] + 0.9 * after[name])


def test_classes_share_the_statistics_of_the_batch(run):
    """A change of the images of one class changes those of the other, in training mode only."""
    G, labels = run().generator, torch.tensor([0, 0, 1, 1])
    z = torch.randn(4, 100)
    other = torch.cat([z[:2], torch.randn(2, 100)])
    for training in (True, False):
        G.train(training)
        assert torch.allclose(G(z, labels)[:2], G(other, labels)[:2], atol=1e-6) is not training


def test_batch_norm_inside_is_converted_for_several_ranks(run):
    G = run().generator.eval()
    z, labels = torch.randn(3, 100), torch.tensor([1, 0, 1])
    expected = G(z, labels)
    converted = convert_sync_batch_norm(G, 2)
    assert all(isinstance(layer.norm, SharedBatchNorm) for layer in layers(converted))
    torch.testing.assert_close(converted(z, labels), expected)


def test_images_of_a_step_have_the_labels_of_the_step(run):
    run = run()
    run.generator.eval()
    step = draw_step(run, "generator")
    torch.testing.assert_close(step.fake, run.generator(step.z, step.labels))
    assert not torch.allclose(step.fake, run.generator(step.z, 1 - step.labels))


def test_with_skip_z_and_dropout(start_run):
    tricks = {"projection": {}, "skip_z": {}, "dropout": {}}
    train_iteration(start_run(DCGAN | {"tricks": tricks}))


class WithoutNormalization(nn.Module):
    def forward(self, z, labels):
        return z


def test_generator_without_normalised_layers_is_refused():
    with pytest.raises(ValueError, match="WithoutNormalization has no layer that the recipe normalises"):
        ClassConditionalGenerator(WithoutNormalization(), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"normalization": {"discriminator": {"use": "conditional_batch_norm"}}},
            "is for the generator; set normalization.discriminator to spectral_norm or none",
        ),
        (
            {"normalization": {player: {"use": "conditional_batch_norm"} for player in PLAYERS}},
            "is for the generator",
        ),
        (
            {"data": {"use": "gaussian_ring", "count": 12}},
            "conditional_batch_norm needs labels, and the dataset has none; use batch_norm",
        ),
        ({"generator": {"use": "igan_vn", "channels": 2}}, "igan_vn has a branch for each class"),
    ],
)
def test_what_cannot_work_is_refused(assembled, change, message):
    with pytest.raises(RecipeError, match=message):
        assembled(DCGAN | change)


@pytest.mark.parametrize("penalty", ["l1_regularization", "l2_regularization"])
def test_weight_penalties_leave_out_the_scales_of_the_classes(penalty):
    changes = {
        "data": {"classes": 2},
        "generator": {"use": "dcgan", "width": 2},
        "normalization": {"generator": {"use": "conditional_batch_norm"}},
    }
    run = tiny_run({penalty: {"players": ["generator"]}}, changes)
    weights = {id(p) for p in run.plugins[f"tricks.{penalty}"].weights("generator", run)}
    scales = [p for name, p in run.generator.named_parameters() if p.dim() == 2 and len(p) == 2]
    assert scales
    assert not weights & {id(p) for p in scales}
    assert weights
