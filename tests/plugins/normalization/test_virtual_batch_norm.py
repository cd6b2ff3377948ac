"""Normalisation: virtual batch norm."""

import copy

import pytest
import torch
from torch import nn

from gankit.errors import RecipeError
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.training.update import train_iteration
from gankit_plugins.normalization.virtual_batch_norm import (
    VirtualBatchNorm,
    VirtualBatchNormLayer,
    WithReference,
    pack,
)

EPS = 1e-5


@pytest.mark.parametrize("pixels", [(), (3, 3)])
def test_statistics_are_those_of_the_reference_batch_with_the_example_itself(pixels):
    reference, x = torch.randn(5, 2, *pixels, dtype=torch.float64), torch.randn(4, 2, *pixels, dtype=torch.float64)
    layer = WithReference(Layer(2), reference, None, persistent=True, ready=True)
    y = layer(x, None)
    for i in range(4):
        together = torch.cat([reference, x[i : i + 1]])
        for c in range(2):
            values = together[:, c].flatten().tolist()
            mean = sum(values) / len(values)
            variance = sum((v - mean) ** 2 for v in values) / len(values)
            torch.testing.assert_close(y[i, c], (x[i, c] - mean) / (variance + EPS) ** 0.5)


class Layer(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.layer = VirtualBatchNormLayer(features, EPS).double()

    def forward(self, x, labels):
        return self.layer(x)


@pytest.fixture
def run(start_run):
    def make(player, base="igan", size=4, **change):
        return start_run({"normalization": {player: {"use": "virtual_batch_norm", "size": size}}} | change, base)

    return make


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_image_does_not_depend_on_its_batch(run, mode):
    run = run("generator")
    G = getattr(run.generator, mode)()
    z = torch.randn(6, 100)
    alone = torch.cat([G(z[i : i + 1], None) for i in range(6)])
    torch.testing.assert_close(G(z, None), alone, atol=1e-5, rtol=1e-4)


def test_logits_with_separate_networks_do_not_depend_on_other_classes(run):
    run = run("discriminator", "igan_vn")
    x, labels, _ = run.draw_real()
    changed = torch.cat([x[:2], torch.randn_like(x[2:])])
    one, other = (run.discriminator(images, labels)[0][:2] for images in (x, changed))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_reference_is_drawn_once_and_has_gradients(run):
    run = run("discriminator")
    before = run.discriminator.inputs.clone()
    torch.testing.assert_close(before, run.draw_reference(4)[0])
    train_iteration(run)
    assert torch.equal(run.discriminator.inputs, before)


def test_network_can_be_copied_after_a_step(run):
    run = run("generator")
    train_iteration(run)
    copied = copy.deepcopy(run.generator).eval()
    z = torch.randn(2, 100)
    torch.testing.assert_close(copied(z, None), run.generator.eval()(z, None))


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_generator_file_contains_the_reference(run, base, tmp_path):
    run = run("generator", base, tricks={"moving_average": {}})
    train_iteration(run)
    save_generator(run, tmp_path / "generator.safetensors")
    sampler = Sampler.load(tmp_path / "generator.safetensors", "cpu")
    assert sampler.generator.inputs.abs().sum() > 0
    own = Sampler(run.sampled_generator(), run.hooks, run.spec, run.device)
    assert torch.equal(sampler.sample(2)[0], own.sample(2)[0])


def test_reference_packs_have_one_class():
    images = torch.arange(8.0).view(8, 1, 1, 1)
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 0, 1])
    packs, of = pack(images, labels, 2)
    assert packs.flatten(1).tolist() == [[0, 2], [4, 6], [1, 3], [5, 7]]
    assert of.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_reference_has_equally_many_of_each_class(run, player):
    network = run(player, "igan_vn", size=3).networks[player]
    (reference,) = [module for module in network.modules() if isinstance(module, WithReference)]
    assert reference.condition.bincount().tolist() == [2, 2]


def test_with_packs(run):
    train_iteration(run("discriminator", "igan_vn", tricks={"packing": {}}))
    assert VirtualBatchNorm.batch_coupled is False


class OneLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 2).double(), VirtualBatchNormLayer(2, EPS).double()

    def forward(self, x, labels):
        return self.norm(self.linear(x))


def test_reference_batch_has_its_share_in_the_gradient():
    torch.manual_seed(0)
    network = OneLayer()
    reference, x = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    rows = []
    for i in range(4):
        y = network.linear(torch.cat([reference, x[i : i + 1]]))
        rows.append((y[-1] - y.mean(0)) / (y.var(0, correction=0) + EPS).sqrt())
    seen = WithReference(network, reference, None, persistent=True, ready=True)(x, None)
    weights = torch.randn(4, 2, dtype=torch.float64)
    ours, naive = (
        torch.autograd.grad((weights * out).sum(), network.linear.weight)[0] for out in (seen, torch.stack(rows))
    )
    torch.testing.assert_close(ours, naive)


def test_statistics_of_bfloat16_maps_are_in_float32():
    torch.manual_seed(0)
    layer = VirtualBatchNormLayer(2, EPS)
    reference, x = ((100 + torch.randn(count, 2, 4, 4)).bfloat16() for count in (6, 3))
    outputs = []
    for kind in (torch.bfloat16, torch.float32):
        layer.recording = True
        layer(reference.to(kind))
        layer.recording = False
        outputs.append(layer(x.to(kind)))
    assert outputs[0].dtype == torch.bfloat16
    assert torch.equal(outputs[0], outputs[1].bfloat16())


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_resumed_run_keeps_the_reference_it_was_saved_with(run, base):
    first, second = run("generator", base), run("generator", base)
    saved = {name: t + 1 if name == "inputs" else t for name, t in first.generator.state_dict().items()}
    second.generator.load_state_dict(saved)
    second.iteration = 1
    second.start()
    assert torch.equal(second.generator.inputs, first.generator.inputs + 1)


def test_skip_z_is_refused(run):
    with pytest.raises(RecipeError, match="skip_z adds the batch's z while the reference"):
        run("generator", tricks={"skip_z": {}})
    run("discriminator", tricks={"skip_z": {}})
