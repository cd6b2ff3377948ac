"""Trick: standing statistics."""

import copy

import pytest
import torch
from torch import nn

from gankit import InputError, Sampler
from gankit.sampling.generator_file import save_generator
from gankit.testing import train_iterations
from gankit.testing.harness import state_of
from gankit_plugins.trick.standing_statistics import aggregated, batch_norms, recorded, statistics_of

DCGAN = {"generator": {"use": "dcgan", "width": 4}, "latent": {"use": "normal", "size": 6}}


def with_trick(passes=3, change=None, **tricks):
    return DCGAN | (change or {}) | {"tricks": {**tricks, "standing_statistics": {"passes": passes}}}


@pytest.mark.parametrize("pixels", [(), (3, 5)])
def test_aggregated_statistics_are_those_of_all_batches_together(pixels):
    torch.manual_seed(0)
    batches = [k + (k + 1) * torch.randn(6, 2, *pixels, dtype=torch.float64) for k in range(4)]
    mean, variance = aggregated([statistics_of(batch) for batch in batches])
    for c in range(2):
        values = torch.cat([batch[:, c].flatten() for batch in batches])
        torch.testing.assert_close(mean[c], values.mean())
        torch.testing.assert_close(variance[c], values.var(correction=0))


def test_a_layer_normalises_with_each_batch_and_then_with_all():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2), nn.BatchNorm1d(2)).double().eval()
    nn.init.normal_(network[0].weight)
    training = copy.deepcopy(network).train()
    batches = torch.randn(4, 5, 3, dtype=torch.float64) * 3 + 1
    with torch.no_grad(), recorded(network[0]), recorded(network[2]):
        for batch in batches:
            torch.testing.assert_close(network(batch), training(batch))
    inner = torch.cat([training[1](training[0](batch)) for batch in batches])
    for layer, values in ((network[0], batches.flatten(0, 1)), (network[2], inner)):
        torch.testing.assert_close(layer.running_mean, values.mean(0))
        torch.testing.assert_close(layer.running_var, values.var(0, correction=0))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_one_pass_gives_the_images_of_training_mode(start_run):
    """Z of the only pass is a batch of the run; batch norm in training mode has its statistics."""
    run = train_iterations(start_run(with_trick(passes=1)), 2)
    sampled = run.sampled_generator()
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(run.recipe.seed))
    expected = copy.deepcopy(run.generator).train()(z, None)
    torch.testing.assert_close(sampled(z, None), expected, atol=1e-5, rtol=1e-4)


def test_with_moving_average_the_weights_are_averaged_and_the_statistics_fit_them(start_run):
    run = train_iterations(start_run(with_trick(passes=1, moving_average={"decay": 0.9})), 3)
    average = run.plugins["tricks.moving_average"].average
    sampled = run.sampled_generator()
    assert sampled is not average
    for (name, p), q in zip(sampled.named_parameters(), average.parameters(), strict=True):
        assert torch.equal(p, q), name
    z = torch.randn(4, 6, generator=torch.Generator().manual_seed(run.recipe.seed))
    torch.testing.assert_close(sampled(z, None), copy.deepcopy(average).train()(z, None), atol=1e-5, rtol=1e-4)


def test_statistics_are_computed_once_for_each_update_of_g(start_run):
    run = start_run(with_trick())
    calls = []
    plugin = run.plugins["tricks.standing_statistics"]
    compute = plugin._compute
    plugin._compute = lambda *inputs: calls.append(run.iteration) or compute(*inputs)
    for _ in range(2):
        train_iterations(run)
        first = {name: t.clone() for name, t in run.sampled_generator().state_dict().items()}
        assert all(torch.equal(t, first[name]) for name, t in run.sampled_generator().state_dict().items())
    assert calls == [1, 2]


def trained(start_run, change, grids=()):
    """Return a run after three iterations, with a grid after some of them."""
    run = start_run(change)
    for iteration in range(3):
        train_iterations(run)
        if iteration in grids:
            run.sampled_generator()
    return run


def test_result_depends_on_the_weights_only(start_run):
    results = [trained(start_run, with_trick(), grids).sampled_generator().state_dict() for grids in ((), (0, 1))]
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_training_is_that_without_it(start_run):
    states = [state_of(trained(start_run, change, range(3))) for change in (with_trick(), DCGAN)]
    assert all(states[0][f"{n}.safetensors"] == states[1][f"{n}.safetensors"] for n in ("generator", "discriminator"))


def test_generator_file_contains_the_statistics(start_run, tmp_path):
    run = train_iterations(start_run(with_trick(moving_average={})), 2)
    save_generator(run, tmp_path / "generator.safetensors")
    loaded = Sampler.load(tmp_path / "generator.safetensors", "cpu")
    assert torch.equal(Sampler.of_run(run).sample(6)[0], loaded.sample(6)[0])
    assert "tricks.standing_statistics" not in loaded.card["needed"]
    for ours, other in zip(batch_norms(run.sampled_generator()), batch_norms(loaded.generator), strict=True):
        assert torch.equal(ours.running_var, other.running_var)


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
def test_classes_take_turns(start_run, base):
    change = {"tricks": {"standing_statistics": {"passes": 2}}}
    conditional = {"normalization": {"generator": {"use": "conditional_batch_norm"}}}
    run = start_run(change | (conditional if base == "igan" else {}), base)
    seen = []
    train_iterations(run)
    copied = run.sampled_generator()
    copied.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1].tolist()))
    train_iterations(run)
    run.sampled_generator()
    assert seen == [[0, 1, 0, 1]] * 2


def test_images_do_not_depend_on_their_batch(start_run):
    sampler = Sampler.of_run(train_iterations(start_run(with_trick()), 2))
    z = sampler.latent(5, None, 1)
    alone = torch.cat([next(sampler.outputs(z[i : i + 1], None)) for i in range(5)])
    torch.testing.assert_close(next(sampler.outputs(z, None)), alone, atol=1e-5, rtol=1e-4)


def test_generators_without_batch_norm_are_refused(start_run):
    with pytest.raises(InputError, match="the generator has no batch norm with running averages"):
        start_run(with_trick(change={"normalization": {"generator": {"use": "instance_norm"}}}))


def test_moving_average_must_come_first(start_run):
    tricks = {"standing_statistics": {"passes": 1}, "moving_average": {}}
    with pytest.raises(InputError, match="move moving_average before this plugin in the recipe"):
        start_run(DCGAN | {"tricks": tricks}).sampled_generator()
