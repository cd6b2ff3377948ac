"""Tricks for image-to-image translation: CycleGAN's cycle consistency, and the L1 distance to the target."""

import pytest
import torch
from torch import nn

from gankit import InputError, Recipe, Sampler, Session, Step
from gankit.testing import tiny_run, train_iterations
from gankit.training.update import draw_step
from gankit_plugins.discriminator.patchgan import ConditionalPatchGan
from gankit_plugins.generator.cyclegan import CycleGan
from gankit_plugins.loss.least_squares import LeastSquares
from gankit_plugins.trick.cycle_consistency import CycleConsistency, cycle_loss, identity_loss, redrawn
from gankit_plugins.trick.l1_to_target import L1ToTarget, l1

SOURCES = {"data": {"condition": "image"}}
PARTS = {CycleGan: {"width": 2, "blocks": 1}, LeastSquares: {}, CycleConsistency: {"pool": 6}}


@pytest.fixture
def run():
    return train_iterations(tiny_run(PARTS, SOURCES), 2)


def terms(run, step):
    return {term.name: term.function(step).item() for term in run.terms[step.player]}


def mean(tensor):
    """Return the mean of a tensor by a sum over Python numbers."""
    values = tensor.flatten().tolist()
    return sum(values) / len(values)


def test_l1():
    a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert l1(a, b).item() == pytest.approx(mean((a - b).abs()))
    assert l1(a.bfloat16(), b).dtype == torch.float32


def test_cycle_and_identity_losses_are_0_for_inverse_and_identical_generators():
    x, y = torch.rand(3, 1, 4, 4), torch.rand(3, 1, 4, 4)
    double, half = lambda x: 2 * x, lambda y: y / 2
    assert cycle_loss(x, y, double, half, double(x), half(y)).item() == pytest.approx(0)
    same = lambda x: x  # noqa: E731
    assert identity_loss(x, y, same, same).item() == 0
    expected = mean((4 * x - x).abs()) + mean((4 * y - y).abs())
    assert cycle_loss(x, y, double, double, double(x), double(y)).item() == pytest.approx(expected)
    assert identity_loss(x, y, double, half).item() == pytest.approx(mean(y) + mean(x) / 2)


def test_a_redrawn_network_has_the_same_entries_in_another_order():
    network = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    other = redrawn(network)
    assert not torch.equal(network[0].weight, other[0].weight)
    assert torch.equal(network[0].weight.flatten().sort().values, other[0].weight.flatten().sort().values)
    assert network[0].weight.data_ptr() != other[0].weight.data_ptr()


def test_terms_of_the_generator_are_those_of_the_paper(run):
    """Zhu 2017, equations 1 to 3, from the four networks alone."""
    step = draw_step(run, "generator")
    x, y, z = step.condition, step.real, step.z
    both, other = run.generator, run.networks["source_discriminator"]
    to_target, to_source = (lambda x: both.to_target(z, x)), (lambda y: both.to_source(z, y))
    actual = terms(run, step)
    assert actual == pytest.approx(
        {
            "adversarial": mean((run.discriminator(to_target(x), x).logits - 1) ** 2) / 2,
            "source_adversarial": mean((other(to_source(y), y).logits - 1) ** 2) / 2,
            "cycle": mean((to_source(to_target(x)) - x).abs()) + mean((to_target(to_source(y)) - y).abs()),
            "identity": mean((to_target(y) - y).abs()) + mean((to_source(x) - x).abs()),
        },
        rel=1e-4,
    )
    assert [term.weight for term in run.terms["generator"]] == [1, 1, 10, 5]
    loss = sum(term.function(step) for term in run.terms["generator"])
    loss.backward()
    assert all(p.grad is not None for p in both.parameters()), "a gradient reaches both generators"


def test_terms_of_the_discriminators(run):
    """Both discriminators have the targets 1 and 0. No gradient reaches the generators."""
    for pool in run.plugins["tricks.cycle_consistency"].pools.values():
        pool.filled.zero_()  # no image is replaced
    step = draw_step(run, "discriminator")
    other = run.networks["source_discriminator"]
    run.generator.zero_grad()
    with torch.no_grad():
        fake_source = run.generator.to_source(step.z, step.real)
    real_logits, fake_logits = (other(images, step.real).logits for images in (step.condition, fake_source))
    values = terms(run, step)
    assert values["source_adversarial"] == pytest.approx(
        (mean((real_logits - 1) ** 2) + mean(fake_logits**2)) / 2, rel=1e-4
    )
    sum(term.function(step) for term in run.terms["discriminator"]).backward()
    assert all(p.grad is None for p in run.generator.parameters())
    assert all(p.grad is not None for p in other.parameters())


def test_networks_are_trained_by_their_players():
    run = tiny_run(PARTS, SOURCES)
    before = {name: [p.clone() for p in network.parameters()] for name, network in run.networks.items()}
    assert set(before) == {"generator", "discriminator", "source_discriminator"}
    train_iterations(run, 1)
    for name, old in before.items():
        assert any(not torch.equal(p, q) for p, q in zip(old, run.networks[name].parameters(), strict=True)), name
    assert all(p.requires_grad for p in run.networks["source_discriminator"].parameters())


def test_half_of_the_images_come_from_the_pool_once_it_is_full(run):
    plugin = run.plugins["tricks.cycle_consistency"]
    assert {name: int(pool.filled) for name, pool in plugin.pools.items()} == {"target": 6, "source": 6}
    torch.manual_seed(0)
    shape, replaced, total = run.spec.shape, 0, 4000
    for number in range(0, total, 8):
        fake = (torch.arange(8.0) + number).view(8, 1, 1, 1).expand(8, *shape)
        step = Step(run, "discriminator", fake, fake, torch.zeros(8, 4), fake)
        plugin.before_d_step(step)
        replaced += int((step.fake != fake).flatten(1).any(1).sum())
    assert replaced / total == pytest.approx(0.5, abs=0.03)
    stored = plugin.pools["target"].images[:, 0, 0, 0]
    assert ((stored >= total - 400) & (stored < total)).all()
    simulated = Step(run, "discriminator", fake, fake, torch.zeros(8, 4), fake, simulated=True)
    plugin.before_d_step(simulated)
    assert simulated.fake is fake


def test_the_file_translates_in_both_directions(tmp_path):
    recipe = {
        "train": {"iterations": 1, "batch_size": 2, "device": "cpu"},
        "data": {
            "use": "unpaired",
            **{name: {"use": "shapes", "resolution": 8, "count": 4} for name in ("source", "target")},
        },
        "generator": {"use": "cyclegan", "width": 2, "blocks": 1},
        "discriminator": {"use": "patchgan", "width": 2, "patch": 16},
        "tricks": {"cycle_consistency": {}, "moving_average": {"decay": 0.5, "start": 0}},
    }
    with Session(Recipe.from_dict(recipe)) as session:
        session.train()
        session.save(tmp_path / "g.safetensors")
    sources = torch.rand(2, 3, 8, 8) * 2 - 1
    there, back = (
        Sampler.load(tmp_path / "g.safetensors", overrides=[f"tricks.cycle_consistency.direction={direction}"])
        for direction in ("to_target", "to_source")
    )
    for sampler, network in ((there, there.generator.to_target), (back, there.generator.to_source)):
        with torch.no_grad():
            assert torch.equal(next(sampler.outputs(torch.zeros(2, 100), sources)), network(None, sources))


@pytest.mark.parametrize(
    ("parts", "changes", "message"),
    [
        ({CycleConsistency: {"direction": "to_source"}, CycleGan: {}}, SOURCES, "exchange data.source and data.target"),
        (
            {CycleConsistency: {}, CycleGan: {}, ConditionalPatchGan: {"patch": 1}},
            SOURCES,
            "must not take the source image; use patchgan",
        ),
        ({CycleConsistency: {}}, {}, "cycle_consistency needs a source image for each image"),
        ({L1ToTarget: {}}, {"data": {"classes": 2}}, "l1_to_target needs a source image for each image"),
    ],
)
def test_unsuitable_recipes_are_refused(parts, changes, message):
    with pytest.raises(InputError, match=message):
        tiny_run(parts, changes)


def test_l1_to_target_compares_with_the_real_image_of_the_same_source():
    run = train_iterations(tiny_run({CycleGan: {"width": 2, "blocks": 1}, L1ToTarget: {}}, SOURCES), 1)
    step = draw_step(run, "generator")
    assert terms(run, step)["l1_to_target"] == pytest.approx(
        mean((step.real - run.generator(step.z, step.condition)).abs()), rel=1e-5
    )
    assert run.terms["generator"][-1].weight == 100
    assert "l1_to_target" not in {term.name for term in run.terms["discriminator"]}
