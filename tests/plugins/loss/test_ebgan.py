"""Loss of EBGAN, against equations 1 and 2, and the recipes that do not fit it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gankit import InputError
from gankit.errors import RecipeError
from gankit.testing import tiny_run, train_iterations
from gankit.training.update import draw_step
from gankit_plugins.loss.ebgan import Ebgan, discriminator_loss, generator_loss
from gankit_plugins.loss.hinge import Hinge

ERRORS = st.lists(st.floats(0, 5), min_size=1, max_size=5)
AUTOENCODER = {"discriminator": {"use": "ebgan", "width": 2, "halvings": 2}}


@given(real=ERRORS, fake=ERRORS, margin=st.floats(0.1, 3))
def test_losses_equal_their_equations(real, fake, margin):
    x, y = (torch.tensor(values, dtype=torch.float64) for values in (real, fake))
    expected = sum(real) / len(real) + sum(max(0.0, margin - e) for e in fake) / len(fake)
    assert discriminator_loss(x, y, margin).item() == pytest.approx(expected)
    assert generator_loss(y).item() == pytest.approx(sum(fake) / len(fake))
    hinge = Hinge.discriminator_loss(-x, -y)
    assert discriminator_loss(x, y, 1.0).item() == pytest.approx(hinge.item() - 1)


def test_generated_images_above_the_margin_have_no_gradient():
    fake = torch.tensor([0.5, 1.5, 2.5], requires_grad=True)
    discriminator_loss(torch.zeros(2), fake, 2.0).backward()
    torch.testing.assert_close(fake.grad, torch.tensor([-1 / 3, -1 / 3, 0.0]))


def test_terms_use_the_errors_of_the_reconstructions():
    run = tiny_run({Ebgan: {"margin": 0.5}}, AUTOENCODER)
    step = draw_step(run, "discriminator")
    real, fake = (
        (run.discriminator(x, None)[2]["reconstruction"] - x).square().mean((1, 2, 3)) for x in (step.real, step.fake)
    )
    (of_d,), (of_g,) = run.terms["discriminator"], run.terms["generator"]
    torch.testing.assert_close(of_d.function(step), real.mean() + (0.5 - fake).clamp(min=0).mean())
    torch.testing.assert_close(of_g.function(step), fake.mean())


def test_g_step_computes_no_output_for_real_images():
    run = tiny_run({Ebgan: {}}, AUTOENCODER)
    step = draw_step(run, "generator")
    run.terms["generator"][0].function(step)
    assert "real_output" not in vars(step)


def test_d_learns_to_reconstruct_real_images():
    run = tiny_run({Ebgan: {"margin": 0.1}}, AUTOENCODER)
    first = draw_step(run, "discriminator").real_output.logits.mean().item()
    train_iterations(run, 80)
    assert draw_step(run, "discriminator").real_output.logits.mean().item() > 0.7 * first


@pytest.mark.parametrize("name", ["ebgan", "began"])
@pytest.mark.parametrize("classes", [0, 3])
def test_discriminator_without_reconstruction_is_refused(name, classes):
    with pytest.raises(InputError, match=f"{name} needs a discriminator that reconstructs its input, and 'tiny' does"):
        tiny_run({}, {"loss": {"use": name}, "data": {"classes": classes}})


def test_look_at_the_reconstruction_changes_no_statistics():
    changes = AUTOENCODER | {"normalization": {"discriminator": {"use": "batch_norm"}}}
    run = tiny_run({Ebgan: {}}, changes)
    means = [value for name, value in run.discriminator.state_dict().items() if name.endswith("running_mean")]
    assert means
    assert not any(mean.any() for mean in means)
    assert run.discriminator.training


@pytest.mark.parametrize("name", ["ebgan", "began"])
@pytest.mark.parametrize(
    ("trick", "sentence"),
    [
        ("relativistic", "relativistic replaces D's reconstruction errors by differences"),
        ("relativistic_average", "relativistic_average replaces D's reconstruction errors"),
        ("minibatch_stddev", "minibatch_stddev adds numbers to D's reconstruction errors"),
        ("minibatch_discrimination", "minibatch_discrimination adds numbers"),
    ],
)
def test_tricks_that_change_the_errors_are_refused(name, trick, sentence):
    with pytest.raises(RecipeError, match=sentence):
        tiny_run({trick: {}}, AUTOENCODER | {"loss": {"use": name}})


@pytest.mark.parametrize("name", ["ebgan", "began"])
@pytest.mark.parametrize("trick", ["label_smoothing", "label_weights", "ada"])
def test_tricks_without_effect_cause_a_warning(name, trick):
    run = tiny_run({trick: {}}, AUTOENCODER | {"loss": {"use": name}})
    assert any(warning.startswith(f"tricks.{trick}") for warning in run.warnings)


def test_packed_images_are_reconstructed():
    run = train_iterations(tiny_run({"packing": {"size": 2}, Ebgan: {}}, AUTOENCODER), 1)
    assert draw_step(run, "generator").fake_output.extra["reconstruction"].shape == (4, 6, 8, 8)
