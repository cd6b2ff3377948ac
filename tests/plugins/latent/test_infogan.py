"""InfoGAN: the structured prior, and the losses of the network that reads the codes."""

import math

import pytest
import torch

from gankit import Spec
from gankit.errors import RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.testing import tiny_run, train_iterations
from gankit.training.update import draw_step
from gankit_plugins.latent.infogan import InfoGan, categorical_loss, continuous_loss

SMALL = {"noise": 3, "categorical": (4, 2), "continuous": 2, "units": 5}


def test_z_consists_of_noise_one_hot_vectors_and_uniform_numbers():
    plugin = InfoGan(InfoGan.Config(**SMALL))
    spec = Spec()
    plugin.adjust_spec(spec)
    z = plugin.sample_latent(4000, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert z.shape == (4000, spec.latent_size) == (4000, 11)
    noise, one, two, uniform = z.split((3, 4, 2, 2), 1)
    assert abs(noise.mean()) < 5 / 12000**0.5
    assert abs(noise.var() - 1) < 5 * (2 / 12000) ** 0.5
    for code, size in ((one, 4), (two, 2)):
        assert set(code.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(code.sum(1), torch.ones(4000))
        assert (code.mean(0) - 1 / size).abs().max() < 5 * (1 / size * (1 - 1 / size) / 4000) ** 0.5
    assert -1 <= uniform.min() < -0.99
    assert 0.99 < uniform.max() <= 1
    assert abs(uniform.mean()) < 5 * (1 / 3 / 8000) ** 0.5


def test_samples_depend_on_the_generator_only():
    plugin = InfoGan(InfoGan.Config(**SMALL))
    before = torch.get_rng_state()
    one, two, other = (
        plugin.sample_latent(5, torch.device("cpu"), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_categorical_loss_by_a_naive_loop():
    logits, chosen = torch.randn(5, 3, dtype=torch.float64), [2, 0, 0, 1, 2]
    expected = 0.0
    for row, c in zip(logits.tolist(), chosen, strict=True):
        expected -= math.log(math.exp(row[c]) / sum(map(math.exp, row))) / 5
    code = torch.nn.functional.one_hot(torch.tensor(chosen), 3).double()
    assert categorical_loss(logits, code).item() == pytest.approx(expected)


def test_continuous_loss_is_the_negative_log_density():
    mean, log_deviation, code = torch.randn(3, 6, 2, dtype=torch.float64)
    expected = -torch.distributions.Normal(mean, log_deviation.exp()).log_prob(code).sum(1).mean()
    torch.testing.assert_close(continuous_loss(mean, log_deviation, code), expected)


@pytest.mark.parametrize("player", PLAYERS)
def test_both_players_minimise_the_loss_of_the_codes_of_their_images(player):
    run = tiny_run({InfoGan: SMALL | {"weight": 2.0, "continuous_weight": 0.5}})
    terms = {term.name: term for term in run.terms[player]}
    assert (terms["code"].weight, terms["continuous_code"].weight) == (2.0, 0.5)
    step = draw_step(run, player)
    read = run.networks["code_predictor"](run.discriminator(step.fake, None)[1])
    one, two, numbers = step.z[:, 3:].split((4, 2, 2), 1)
    expected = categorical_loss(read[:, :4], one) + categorical_loss(read[:, 4:6], two)
    torch.testing.assert_close(terms["code"].function(step), expected)
    torch.testing.assert_close(
        terms["continuous_code"].function(step), continuous_loss(read[:, 6:8], read[:, 8:], numbers)
    )


@pytest.mark.parametrize(
    ("settings", "names"),
    [({"continuous": 0}, {"code"}), ({"categorical": ()}, {"continuous_code"})],
)
def test_one_kind_of_code_is_enough(settings, names):
    run = train_iterations(tiny_run({InfoGan: SMALL | settings}), 1)
    assert {term.name for term in run.terms["generator"]} & {"code", "continuous_code"} == names


def test_the_codes_become_readable():
    run = tiny_run({InfoGan: {"noise": 1, "categorical": (3,), "continuous": 0}})
    first = run.terms["generator"][-1].function(draw_step(run, "generator")).item()
    train_iterations(run, 60)
    assert run.values["generator"]["code"].item() < first - 0.1


@pytest.mark.parametrize(
    ("settings", "tricks", "message"),
    [
        ({"continuous": 0, "categorical": ()}, {}, "there is no code; set categorical or continuous"),
        ({}, {"packing": {}}, "with packing, D's inputs do not correspond to the z"),
        ({}, {"experience_replay": {"capacity": 8}}, "with experience_replay, D's inputs do not"),
    ],
)
def test_what_cannot_work_is_refused(settings, tricks, message):
    with pytest.raises(RecipeError, match=message):
        tiny_run({InfoGan: SMALL | settings, **tricks})


def test_truncation_keeps_the_codes():
    plugin = InfoGan(InfoGan.Config(**SMALL))
    randomness = torch.Generator().manual_seed(0)
    redraw = lambda: plugin.sample_latent(500, torch.device("cpu"), randomness)  # noqa: E731
    z = redraw()
    cut = plugin.truncate_latent(z, redraw, 0.4)
    assert cut[:, :3].abs().max() <= 0.4
    assert torch.equal(cut[:, 3:], z[:, 3:])
    kept = z[:, :3].abs() <= 0.4
    assert torch.equal(cut[:, :3][kept], z[:, :3][kept])
