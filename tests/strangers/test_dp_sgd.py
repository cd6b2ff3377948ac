"""Tests of the differentially private D steps."""

import pytest
import torch
from dp_sgd import DpSgd, clip_factors, noisy_mean
from torch import nn
from torch.nn.functional import softplus

from gankit import InputError, Session, Step
from gankit.testing import check_plugin, tiny_run, train_iterations
from gankit.training.loop import plugin_values
from tests.strangers.conftest import HERE

RECIPE = HERE / "dp_sgd.toml"


class BatchNormCritic(nn.Module):
    """Discriminator that couples images, without a declaration of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 1))

    def forward(self, images):
        return self.layers(images).flatten()


def test_plugin():
    check_plugin(DpSgd)


def test_clipping_is_algorithm_1():
    gradients = {"a": torch.randn(5, 3, 2), "b": torch.randn(5, 4)}
    factors = clip_factors(gradients, 2.0)
    for i in range(5):
        norm = torch.cat([g[i].flatten() for g in gradients.values()]).norm()
        torch.testing.assert_close(factors[i], 1 / max(torch.tensor(1.0), norm / 2.0))
    assert clip_factors({"a": torch.zeros(2, 3)}, 1.0).tolist() == [1.0, 1.0]


def test_noise_has_the_given_deviation():
    noise = noisy_mean(torch.zeros(4, 100_000), torch.ones(4), 2.0)
    assert noise.std().item() == pytest.approx(2.0 / 4, rel=0.02)


@pytest.mark.parametrize("norm", [1e6, 0.05])
def test_gradient_is_that_of_a_loop(norm):
    run = tiny_run({DpSgd: {"norm": norm, "sigma": 0.0}}, {"loss": {"use": "non_saturating"}})
    trick = run.plugins["tricks.dp_sgd"]
    real, fake = torch.rand(6, *run.spec.shape) * 2 - 1, torch.rand(6, *run.spec.shape) * 2 - 1
    discriminator = run.discriminator
    parameters = list(discriminator.parameters())
    expected = [torch.zeros_like(p) for p in parameters]
    for x, y in zip(real, fake, strict=True):
        loss = softplus(-discriminator(x[None], None).logits) + softplus(discriminator(y[None], None).logits)
        gradients = torch.autograd.grad(loss.sum(), parameters)
        length = torch.cat([g.flatten() for g in gradients]).norm()
        for total, g in zip(expected, gradients, strict=True):
            total += g * min(1.0, norm / length.item()) / 6

    step = Step(run, "discriminator", real, None, torch.zeros(6, run.spec.latent_size), fake)
    for p in parameters:
        p.grad = None
    trick.backward(run, step, "discriminator", run.terms["discriminator"])
    for p, e in zip(parameters, expected, strict=True):
        torch.testing.assert_close(p.grad, e, atol=1e-6, rtol=1e-4)
    assert trick.log_values()["clipped_share"] == (1.0 if norm < 1 else 0.0)


def test_noise_is_the_same_for_a_batch_in_parts():
    """The noise of D's gradient has the deviation sigma C / B, also if the batch is in parts."""
    for parts in (1, 2):
        run = tiny_run({DpSgd: {"norm": 1e-3, "sigma": 1e4}}, {"train": {"accumulate": parts, "batch_size": 8}})
        noise = []

        def step(*_, run=run, noise=noise, **__):
            noise.extend(p.grad.flatten().clone() for p in run.discriminator.parameters())

        run.optimizers["discriminator"].step = step
        train_iterations(run)
        assert torch.cat(noise).std().item() == pytest.approx(10 / 8, rel=0.2)


@pytest.mark.parametrize(
    "override",
    [
        "normalization.discriminator=batch_norm",
        "normalization.discriminator=virtual_batch_norm",
        "tricks.minibatch_stddev={}",
        "tricks.minibatch_discrimination={}",
        "tricks.packing={}",
    ],
)
def test_declared_coupling_is_refused(override):
    with pytest.raises(InputError, match=r"couples (the|all) images"):
        Session(str(RECIPE), [override, "train.batch_size=24"]).train(1)


def test_undeclared_coupling_is_refused():
    with pytest.raises(InputError, match="couples the images"):
        Session(str(RECIPE), [f"discriminator={{use='{HERE}/test_dp_sgd.py:BatchNormCritic'}}"]).train(1)


def test_penalty_on_weights_is_refused():
    with pytest.raises(InputError, match="reads D's weights"):
        Session(str(RECIPE), ["tricks.l2_regularization={}"]).train(1)


@pytest.mark.parametrize("name", ["spectral_norm", "layer_norm", "group_norm", "instance_norm"])
def test_other_normalisations_work(name):
    Session(str(RECIPE), [f"normalization.discriminator={name}"]).train(2)


@pytest.mark.parametrize("name", ["minimax", "hinge", "least_squares", "wasserstein"])
def test_losses_work(name):
    Session(str(RECIPE), [f"loss={name}"]).train(2)


@pytest.mark.parametrize("name", ["flip", "diff_augment", "ada", "label_smoothing", "instance_noise", "dropout"])
def test_tricks_work(name):
    Session(str(RECIPE), [f"tricks.{name}={{}}"]).train(2)


def test_kill_resume_and_sample(killed_run_equals_whole_run, samples_twice):
    samples_twice(killed_run_equals_whole_run("dp_sgd.toml"))


def test_clipped_share_is_logged():
    session = Session(str(RECIPE))
    session.train(3)
    assert 0 <= plugin_values(session.run)["clipped_share"] <= 1
