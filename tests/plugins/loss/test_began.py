"""Loss of BEGAN: its equations, k as state, several parts of a batch, several ranks, and resuming."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit.errors import RecipeError
from gankit.testing import tiny_run, train_iterations
from gankit.training.state import capture, restore
from gankit.training.update import draw_step
from gankit_plugins.loss.began import Began, convergence_measure, next_k

AUTOENCODER = {"discriminator": {"use": "began", "width": 2, "code": 3}}
ERROR = st.floats(0, 2)


def scalar(x):
    return torch.tensor(x, dtype=torch.float64)


def started(config=None, changes=None):
    return tiny_run({Began: config or {}}, AUTOENCODER | (changes or {}))


@given(k=st.floats(0, 1), real=ERROR, fake=ERROR, gamma=st.floats(0, 1), rate=st.floats(0.001, 2))
def test_k_and_convergence_equal_their_equations(k, real, fake, gamma, rate):
    expected = min(1.0, max(0.0, k + rate * (gamma * real - fake)))
    assert next_k(scalar(k), scalar(real), scalar(fake), gamma, rate).item() == pytest.approx(expected)
    M = real + abs(gamma * real - fake)
    assert convergence_measure(scalar(real), scalar(fake), gamma).item() == pytest.approx(M)


def test_k_is_constant_in_equilibrium():
    assert next_k(scalar(0.3), scalar(0.8), scalar(0.4), 0.5, 0.1).item() == pytest.approx(0.3)
    assert convergence_measure(scalar(0.8), scalar(0.4), 0.5).item() == pytest.approx(0.8)


def test_terms_use_the_errors_of_the_reconstructions():
    run = started()
    run.plugins["loss"].k = torch.tensor(0.25)
    step = draw_step(run, "discriminator")
    real, fake = ((run.discriminator(x, None)[2]["reconstruction"] - x).abs().mean() for x in (step.real, step.fake))
    (of_d,), (of_g,) = run.terms["discriminator"], run.terms["generator"]
    torch.testing.assert_close(of_d.function(step), real - 0.25 * fake)
    torch.testing.assert_close(of_g.function(step), fake)
    assert not of_d.function(step).isnan()


def test_k_and_convergence_in_a_run():
    """The plugin changes k after each G step, with L(x) of the D step before and L(G(z)) of the G step."""
    run, outputs = started({"rate": 0.5, "gamma": 0.75}, {"train": {"accumulate": 2, "discriminator_steps": 2}}), []
    run.discriminator.register_forward_hook(lambda network, inputs, output: outputs.append(-output[0].mean().item()))
    k = 0.0
    for _ in range(6):
        outputs.clear()
        run = train_iterations(run, 1)
        # Each part of a D step computes a real and a fake batch, and each part of a G step a fake batch.
        assert len(outputs) == 2 * 2 * 2 + 2
        real, fake = (outputs[4] + outputs[6]) / 2, (outputs[8] + outputs[9]) / 2
        k = min(1.0, max(0.0, k + 0.5 * (0.75 * real - fake)))
        values = run.plugins["loss"].log_values()
        assert values["began_k"].item() == pytest.approx(k, rel=1e-5)
        assert values["began_convergence"].item() == pytest.approx(real + abs(0.75 * real - fake), rel=1e-5)


def test_errors_are_averaged_over_the_ranks():
    plugin = Began(Began.Config(rate=0.1, gamma=0.5))
    sent = []

    def mean(x):
        sent.append(x.item())
        return x + 1.0

    run = SimpleNamespace(device=torch.device("cpu"), ranks=SimpleNamespace(mean=mean))
    output = SimpleNamespace(logits=torch.tensor([-3.0, -5.0]))
    step = SimpleNamespace(
        real_output=output, fake_output=SimpleNamespace(logits=torch.tensor([-1.0])), simulated=False
    )
    plugin.on_start(run=run)
    plugin.discriminator_term(step)
    plugin.after_d_step(run=run)
    plugin.generator_term(step)
    plugin.after_g_step(run=run)
    assert sent == [4.0, 1.0]
    assert plugin.k.item() == pytest.approx(0.1 * (0.5 * 5 - 2))


def test_simulated_steps_are_not_counted():
    run = started({}, {"tricks": {"unrolled_discriminator": {"steps": 3}}})
    train_iterations(run, 2)
    assert run.plugins["loss"].parts == []
    step = draw_step(run, "discriminator")
    step.simulated = True
    run.terms["discriminator"][0].function(step)
    assert run.plugins["loss"].parts == []


def test_g_step_before_the_first_d_step_changes_nothing():
    run = started()
    step = draw_step(run, "generator")
    run.terms["generator"][0].function(step)
    plugin = run.plugins["loss"]
    plugin.after_g_step(run=run)
    assert plugin.log_values() == {"began_k": torch.tensor(0.0)}


def test_k_stays_in_its_range():
    run = train_iterations(started({"rate": 1.0}), 30)
    assert 0 <= run.plugins["loss"].k.item() <= 1
    run = train_iterations(started({"rate": 1000.0, "gamma": 1.0}), 3)
    assert run.plugins["loss"].k.item() in (0.0, 1.0)


def test_state_survives_a_resume():
    run = train_iterations(started({"rate": 0.5, "gamma": 1.0}), 3)
    tensors, values = capture(run)
    other = started({"rate": 0.5, "gamma": 1.0})
    restore(other, tensors, values)
    one, two = run.plugins["loss"].state_dict(), other.plugins["loss"].state_dict()
    assert one.keys() == two.keys() == {"k", "real_error", "convergence"}
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert one["k"] > 0


def test_feature_matching_is_refused():
    with pytest.raises(RecipeError, match="feature_matching replaces G's loss, from which k is computed"):
        tiny_run({"feature_matching": {}, Began: {}}, AUTOENCODER)


@pytest.mark.parametrize(
    ("trick", "message"),
    [("top_k", "with top_k, k would be computed from the best images only"), ("projection", "projection adds numbers")],
)
def test_tricks_that_change_the_errors_are_refused(trick, message):
    with pytest.raises(RecipeError, match=message):
        tiny_run({trick: {}, Began: {}}, AUTOENCODER | {"data": {"classes": 2}})
