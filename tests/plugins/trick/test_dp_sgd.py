"""Differentially private D steps: gradients, noise, sampling and accounting against independent computations."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import softplus

from gankit import InputError, LossTerm, Plugin, Sampler, hookimpl
from gankit.cli import run_command_line
from gankit.report.model_card import model_card
from gankit.sampling.generator_file import read_generator_file, save_generator
from gankit.testing import tiny_run, train_iterations
from gankit.training.loop import plugin_values
from gankit.training.update import draw_step
from gankit_plugins.trick import dp_sgd
from gankit_plugins.trick.dp_sgd import DpSgd
from gankit_plugins.trick.privacy_accountant import PrivacyAccountant
from gankit_plugins.trick.sample_gradients import clip_factors, clipped_sum, poisson_sample, secret_generator

pytest.importorskip("opacus")

# Accountant


def rdp_at_integer_order(q, sigma, alpha):
    """Return the Renyi bound of the sampled Gaussian mechanism at an integer order (Mironov 2019, section 3.3)."""
    total = sum(
        math.comb(alpha, k) * (1 - q) ** (alpha - k) * q**k * math.exp((k * k - k) / (2 * sigma**2))
        for k in range(alpha + 1)
    )
    return math.log(total) / (alpha - 1)


@pytest.mark.parametrize(("q", "sigma"), [(0.01, 4.0), (0.05, 1.3), (1.0, 2.0)])
def test_the_renyi_bounds_are_those_of_the_paper(q, sigma):
    accountant = PrivacyAccountant(q, sigma, 1e-5)
    bounds = dict(zip(accountant.orders, accountant.rdp, strict=True))
    for alpha in (2, 8, 32):
        assert bounds[alpha] == pytest.approx(rdp_at_integer_order(q, sigma, alpha), rel=1e-6)
        if q == 1:  # the Gaussian mechanism without sampling
            assert bounds[alpha] == pytest.approx(alpha / (2 * sigma**2))


def test_epsilon_of_the_example_in_the_paper():
    """Abadi 2016, section 3.2: q = 0.01, sigma = 4, 10,000 steps. Their looser conversion gives 1.26."""
    epsilon = PrivacyAccountant(0.01, 4.0, 1e-5).epsilon(10_000)
    by_hand = min(
        10_000 * rdp_at_integer_order(0.01, 4.0, a) + math.log(1 - 1 / a) - (math.log(1e-5) + math.log(a)) / (a - 1)
        for a in range(2, 64)
    )
    assert epsilon == pytest.approx(by_hand, rel=1e-6)
    assert 1.0 < epsilon < 1.26


def test_epsilon_before_the_first_step_is_zero():
    assert PrivacyAccountant(0.1, 1.0, 1e-5).epsilon(0) == 0


def test_without_opacus_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants.analysis.rdp", None)
    with pytest.raises(InputError, match=r"pip install 'gankit\[privacy\]'"):
        PrivacyAccountant(0.1, 1.0, 1e-5)


# Gradients and noise


def test_clipping_is_that_of_the_paper():
    gradients = {"a": torch.randn(5, 3, 2), "b": torch.randn(5, 4), "c": torch.randn(5)}
    factors = clip_factors(gradients, 2.0)
    for i in range(5):
        norm = torch.cat([g[i].flatten() for g in gradients.values()]).norm()
        torch.testing.assert_close(factors[i], 1 / max(torch.tensor(1.0), norm / 2.0))
    assert clip_factors({"a": torch.zeros(2, 3)}, 1.0).tolist() == [1.0, 1.0]
    total = clipped_sum(gradients, factors)
    for name, g in gradients.items():
        torch.testing.assert_close(total[name], sum(f * one for f, one in zip(factors, g, strict=True)))


def private_run(settings=None, changes=None):
    return tiny_run(
        {DpSgd: {"noise_seed": 0} | (settings or {})},
        {"loss": {"use": "non_saturating"}, "normalization": {"generator": {"use": "none"}}} | (changes or {}),
    )


def gradient_of(run, step):
    """Return D's gradient of a step, as one vector."""
    parameters = list(run.discriminator.parameters())
    for p in parameters:
        p.grad = None
    values = run.plugins["tricks.dp_sgd"].backward(run, step, "discriminator", run.terms["discriminator"])
    return torch.cat([p.grad.flatten() for p in parameters]), values


@pytest.mark.parametrize("norm", [1e6, 0.05])
def test_the_gradient_is_that_of_a_loop(norm):
    run = private_run({"norm": norm, "sigma": 0.0, "chunk": 2})
    step = draw_step(run, "discriminator")
    size, n = 8, len(step.real) - 8
    assert n > 2  # several chunks
    D, parameters = run.discriminator, list(run.discriminator.parameters())
    real_losses = [softplus(-D(x[None], None)[0]).mean() for x in step.real[size:]]
    fake_losses = [softplus(D(x[None], None)[0]).mean() for x in step.fake[:size]]
    expected, clipped = 0, 0
    for loss in (*fake_losses, *real_losses):
        g = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
        expected += g * min(1.0, norm / g.norm().item()) / size
        clipped += g.norm().item() > norm and any(loss is one for one in real_losses)
    gradient, values = gradient_of(run, step)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        values["adversarial"], sum(torch.stack(x).mean().detach() for x in (real_losses, fake_losses))
    )
    assert plugin_values(run) == {"clipped_share": pytest.approx(clipped / n)}  # no epsilon without noise


def test_without_clipping_and_noise_the_gradient_is_that_of_ordinary_training():
    """A Poisson sample of all samples makes the private step the usual one."""
    run = private_run({"norm": 1e6, "sigma": 0.0}, {"train": {"batch_size": 32}, "tricks": {"l2_regularization": {}}})
    step = draw_step(run, "discriminator")
    assert len(step.real) == 64  # q = 1
    gradient, values = gradient_of(run, step)
    parameters = list(run.discriminator.parameters())
    whole = step.slice(slice(32))
    whole.real = step.real[32:]
    ordinary = {term.name: term.function(whole) for term in run.terms["discriminator"]}
    weights = {term.name: term.weight for term in run.terms["discriminator"]}
    loss = sum(weights[name] * value for name, value in ordinary.items())
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    for name, value in ordinary.items():
        torch.testing.assert_close(values[name], value.detach())


def test_one_sample_changes_the_gradient_by_at_most_the_norm():
    run = private_run({"norm": 0.01, "sigma": 0.0})
    step = draw_step(run, "discriminator")
    whole, _ = gradient_of(run, step)
    without_last, _ = gradient_of(run, step.slice(slice(len(step.real) - 1)))
    difference = (whole - without_last).norm().item()
    assert 0 < difference <= 0.01 / 8 + 1e-7  # batch size 8
    changed = step.slice(slice(None))
    changed.real = torch.cat([step.real[:-1], torch.full_like(step.real[-1:], 100.0)])  # an outlier
    assert (gradient_of(run, changed)[0] - without_last).norm().item() <= 0.01 / 8 + 1e-7


def test_the_noise_has_the_given_deviation():
    run = private_run({"norm": 2.0, "sigma": 3.0})
    step = draw_step(run, "discriminator").slice(slice(8))  # no real samples
    gradients = torch.stack([gradient_of(run, step)[0] for _ in range(64)]).double()
    noise = gradients - gradients.mean(0)
    assert noise.std().item() == pytest.approx(2.0 * 3.0 / 8, rel=0.02)
    assert torch.corrcoef(noise[:4]).fill_diagonal_(0).abs().max() < 0.2


def test_the_average_over_ranks_has_the_noise_of_one_rank():
    network = torch.nn.Linear(100, 100, bias=False)
    plugin = DpSgd(DpSgd.Config())
    run = SimpleNamespace(
        ranks=SimpleNamespace(size=4),
        recipe=SimpleNamespace(train=SimpleNamespace(batch_size=8)),
        discriminator=network,
        device=torch.device("cpu"),
    )
    gradients = []
    for rank in range(4):
        network.weight.grad = None
        plugin._add_mean(run, {"weight": torch.full((100, 100), float(rank))}, noise=6.0)
        gradients.append(network.weight.grad)
    average = torch.stack(gradients).mean(0)
    assert average.std().item() == pytest.approx(6.0 / 8, rel=0.05)
    assert average.mean().item() == pytest.approx((0 + 1 + 2 + 3) / 8, abs=0.05)


def test_the_noise_does_not_follow_from_the_seed_of_the_recipe():
    """The generator file contains the recipe, and so its seed."""
    first, second = (train_iterations(private_run({"noise_seed": None}), 1) for _ in range(2))
    assert any(
        not torch.equal(p, q) for p, q in zip(first.generator.parameters(), second.generator.parameters(), strict=True)
    )
    warnings = private_run().warnings
    assert any("remove noise_seed" in sentence for sentence in warnings)


def test_the_secret_generator_does_not_follow_from_a_seed_of_32_bits():
    first, second = secret_generator(), secret_generator()
    words = [one.get_state().view(torch.int64)[3:627] for one in (first, second)]
    assert (words[0] != words[1]).sum() > 600  # each of the 624 words is random
    for one in words:
        assert one.min() >= 0
        assert one.max() < 2**32
        assert one.double().mean().item() == pytest.approx(2**31, rel=0.15)  # 6 standard deviations
    values = torch.randn(10_000, generator=first)
    assert values.mean().item() == pytest.approx(0, abs=0.05)
    assert values.std().item() == pytest.approx(1, abs=0.05)
    assert not torch.equal(torch.rand(9, generator=first), torch.rand(9, generator=second))


def test_generated_samples_do_not_depend_on_the_number_of_real_samples(monkeypatch):
    """The augmentations of real samples draw random numbers, and the z of the next steps must not reveal how many."""

    def fakes(sizes):
        run = private_run({}, {"tricks": {"flip": {}, "instance_noise": {}}})
        drawn = []
        for n in sizes:
            monkeypatch.setattr(dp_sgd, "poisson_sample", lambda *_, n=n: torch.arange(n))
            step = draw_step(run, "discriminator")
            gradient_of(run, step)
            drawn.append(step.z[:8])
        return drawn

    for first, second in zip(fakes([3, 4, 5]), fakes([9, 0, 7]), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


# Sampling


def test_the_sample_is_a_poisson_sample():
    generator = torch.Generator().manual_seed(0)
    samples = torch.zeros(2000, 50)
    for row in samples:
        row[poisson_sample(50, 0.3, generator)] = 1
    assert samples.mean().item() == pytest.approx(0.3, abs=0.01)
    assert samples.sum(1).var().item() == pytest.approx(50 * 0.3 * 0.7, rel=0.15)  # of a fixed size it would be 0
    assert torch.corrcoef(samples.T).fill_diagonal_(0).abs().max() < 0.12
    assert poisson_sample(5, 1.0, generator).tolist() == [0, 1, 2, 3, 4]
    assert poisson_sample(5, 0.0, generator).shape == (0,)


def test_a_step_has_no_real_samples_in_the_rows_of_generated_samples():
    run = private_run({}, {"data": {"classes": 2}})
    data = run.take_real(torch.arange(run.num_real))
    sizes = []
    for _ in range(200):
        step = draw_step(run, "discriminator")
        assert not step.real[:8].any()
        assert not step.fake[8:].any()
        sizes.append(len(step.real) - 8)
        for image, label in zip(step.real[8:], step.labels[8:], strict=True):
            matches = (data.images == image).flatten(1).all(1)
            assert data.condition[matches].tolist() == [label]
    assert sum(sizes) / 200 == pytest.approx(8, abs=0.6)
    assert len(set(sizes)) > 5


def test_a_generator_step_has_no_real_samples_and_uniform_labels():
    run = private_run({}, {"data": {"classes": 2}})
    labels = []
    for _ in range(100):
        step = draw_step(run, "generator")
        assert not step.real.any()
        assert step.fake.requires_grad
        labels.append(step.labels)
    assert torch.cat(labels).float().mean().item() == pytest.approx(0.5, abs=0.06)


def test_a_step_without_real_samples_trains(monkeypatch):
    monkeypatch.setattr(dp_sgd, "poisson_sample", lambda *_: torch.zeros(0, dtype=torch.int64))
    run = train_iterations(private_run({}, {"tricks": {"flip": {}, "instance_noise": {}}}), 2)
    assert math.isfinite(run.values["discriminator"]["adversarial"].item())
    assert plugin_values(run)["clipped_share"] == 0


# Refusals and partners

REFUSED = {
    "normalization.discriminator (batch_norm) couples": {"normalization": {"discriminator": {"use": "batch_norm"}}},
    "normalization.generator (virtual_batch_norm)": {
        "normalization": {"generator": {"use": "virtual_batch_norm", "size": 4}}
    },
    "tricks.minibatch_stddev": {"tricks": {"minibatch_stddev": {}}},
    "tricks.minibatch_discrimination": {"tricks": {"minibatch_discrimination": {}}},
    "tricks.packing (packing) may use": {"tricks": {"packing": {}}},
    "tricks.ada": {"tricks": {"ada": {}}},
    "tricks.r1 (r1) is a penalty": {"tricks": {"r1": {}}},
    "tricks.lecam": {"tricks": {"lecam": {}}},
    "tricks.feature_matching": {"tricks": {"feature_matching": {}}},
    "tricks.relativistic": {"tricks": {"relativistic": {}}},
    "tricks.unrolled_discriminator": {"tricks": {"unrolled_discriminator": {}}},
    "tricks.collapse_guard": {"tricks": {"collapse_guard": {}}},
    "D's term 'adversarial' couples samples (the loss is softmax)": {"loss": {"use": "softmax"}},
    "train.accumulate": {"train": {"accumulate": 2}},
    "train.rollbacks": {"train": {"rollbacks": 1}},
    "train.class_balanced": {"train": {"class_balanced": True}, "data": {"classes": 2}},
    "output.keep_best": {
        "output": {"keep_best": "nearest_ratio"},
        "metrics": {"memorisation": {}},
        "extractor": {"use": "pixels"},
    },
    "train.batch_size is 64, and there are 32": {"train": {"batch_size": 64}},
    "can draw only classes": {"data": {"condition": "vector"}},
}


@pytest.mark.parametrize(("message", "changes"), REFUSED.items(), ids=list(REFUSED))
def test_what_breaks_the_guarantee_is_refused_by_name(message, changes):
    with pytest.raises(InputError, match=re.escape(message)):
        private_run({}, changes)


def test_a_resumed_run_keeps_the_number_of_samples():
    """Epsilon is computed with one sampling probability for all steps, also with `--allow-changed-data`."""
    state = private_run().plugins["tricks.dp_sgd"].state_dict()
    assert state["samples"] == 32
    run = private_run()
    run.plugins["tricks.dp_sgd"].load_state_dict(state)
    run.start()
    run.plugins["tricks.dp_sgd"].load_state_dict(state | {"samples": 24})
    with pytest.raises(InputError, match="the run began with 24 samples, and the data now have 32"):
        run.start()


class Coupled(Plugin):
    """Discriminator that couples samples and does not declare it. Source: none."""

    name, kind = "coupled", "discriminator"

    @hookimpl
    def build_discriminator(self, spec):
        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(math.prod(spec.shape), 4)

            def forward(self, images, condition):
                features = self.layer(images.flatten(1))
                features = features - features.mean(0)
                return features.sum(1), features

        return Network()


class Watching(Plugin):
    """Trick of someone else that reads the samples of a step. Source: none."""

    name = "watching"

    @hookimpl
    def before_d_step(self, step): ...


class BeforeIteration(Plugin):
    """Trick of someone else that can draw real samples before an iteration. Source: none."""

    name = "before_everything"

    @hookimpl
    def before_iteration(self, run): ...


class RealInG(Plugin):
    """Loss of G that uses real samples. Source: none."""

    name = "real_in_g"

    @hookimpl
    def loss_terms(self, player):
        if player == "generator":
            yield LossTerm("matching", lambda step: (step.real.mean() - step.fake.mean()).square())


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (Coupled, "the discriminator coupled couples the samples"),
        (Watching, "tricks.watching (watching) may use them in its hook before_d_step"),
        (BeforeIteration, "may use them in its hook before_iteration"),
        (RealInG, "G's term 'matching' uses them"),
    ],
)
def test_plugins_of_others_are_refused(plugin, message):
    with pytest.raises(InputError, match=re.escape(message)):
        tiny_run({DpSgd: {}, plugin: {}})


PARTNERS = [
    *({"normalization": {"discriminator": {"use": name}}} for name in ("spectral_norm", "layer_norm", "group_norm")),
    *({"loss": {"use": name}} for name in ("minimax", "hinge", "least_squares", "wasserstein")),
    {"tricks": {name: {} for name in ("flip", "diff_augment", "label_smoothing", "instance_noise", "dropout")}},
    {"tricks": {name: {} for name in ("l2_regularization", "weight_clipping", "moving_average")}},
    {"data": {"classes": 2}, "generator": {"use": "conditional_dcgan", "width": 2}, "tricks": {"projection": {}}},
]


@pytest.mark.parametrize("changes", PARTNERS, ids=json.dumps)
def test_partners_train(changes):
    networks = {player: {"use": "dcgan", "width": 2} for player in ("generator", "discriminator")}
    train_iterations(private_run({}, networks | changes), 2)


# Runs


def test_the_budget_ends_the_run_and_the_file_names_epsilon(tmp_path):
    run = private_run({"sigma": 2.0, "epsilon": 6.0}, {"train": {"iterations": 10_000, "discriminator_steps": 2}})
    while run.stop_reason is None:
        train_iterations(run, 1)
        run.after_iteration(run)
    plugin = run.plugins["tricks.dp_sgd"]
    assert "privacy budget is spent" in run.stop_reason
    steps = run.step_counts["discriminator"]
    assert plugin.accountant.epsilon(steps) <= 6.0 < plugin.accountant.epsilon(steps + 2)
    save_generator(run, tmp_path / "g.safetensors")
    card, _ = read_generator_file(tmp_path / "g.safetensors")
    assert card["facts"] == {
        "epsilon": plugin.accountant.epsilon(steps),
        "delta": 1e-5,
        "privacy unit": "one training sample",
    }
    assert "| privacy unit | one training sample |" in model_card("hf://a/b", card, None, [])
    run.stop_reason = None
    run.start()  # a resumed run
    assert run.stop_reason is not None
    with pytest.raises(InputError, match="above the budget"):
        private_run({"sigma": 0.5, "epsilon": 0.5})


RECIPE = """
[train]
iterations = 24
batch_size = 8
device = "cpu"
[output]
log_every = 4
sample_every = 12
checkpoint_every = 6
sample_count = 4
[data]
use = "shapes"
resolution = 16
count = 64
[latent]
use = "normal"
size = 8
[generator]
use = "dcgan"
width = 4
[discriminator]
use = "dcgan"
width = 4
[normalization]
discriminator = "none"
[tricks.dp_sgd]
sigma = 1.5
norm = 0.1
noise_seed = 7
"""


def gankit(*arguments):
    assert run_command_line([*map(str, arguments)]) == 0


def test_a_killed_run_ends_with_the_same_file(tmp_path):
    recipe, whole, killed = tmp_path / "private.toml", tmp_path / "whole", tmp_path / "killed"
    recipe.write_text(RECIPE)
    gankit("run", recipe, "--out", whole, "--quiet")
    process = subprocess.Popen([sys.executable, "-m", "gankit", "run", recipe, "--out", killed, "--quiet"])
    try:
        while not any(re.fullmatch(r"\d+", path.name) for path in killed.glob("checkpoints/*")):
            assert process.poll() is None, "the run ended before its first checkpoint"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    gankit("resume", killed, "--quiet")
    file = whole / "generator.safetensors"
    assert (killed / "generator.safetensors").read_bytes() == file.read_bytes()
    rows = [json.loads(line) for line in (whole / "log.jsonl").open()]
    epsilons = [row["values"]["epsilon"] for row in rows if "values" in row]
    assert epsilons == sorted(epsilons)
    assert Sampler.load(file).card["facts"]["epsilon"] == epsilons[-1]
    assert epsilons[-1] == pytest.approx(PrivacyAccountant(8 / 64, 1.5, 1e-5).epsilon(24))
