"""MGAN: the mixture prior, the first layer of each generator, and the losses of the classifier."""

import math

import pytest
import torch
from torch import nn

from gankit import Spec
from gankit.errors import InputError, RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.sampling.sampler import Sampler
from gankit.testing import state_of, tiny_run, train_iterations, weights_of
from gankit.training.update import draw_step, train_step
from gankit_plugins.generator.dcgan import DcganGenerator
from gankit_plugins.generator.igan import IganGenerator
from gankit_plugins.generator.mlp import FullyConnectedGenerator
from gankit_plugins.latent.mgan import Mgan, mixture_latent, split_latent

K, N = 3, 4
SMALL = {"generators": K, "noise": N, "beta": 0.25}
NETWORKS = {
    "mlp": lambda spec: FullyConnectedGenerator(spec, [5, 6]),
    "dcgan": lambda spec: DcganGenerator(spec, 2),
    "igan": lambda spec: IganGenerator(spec, 2, "transposed"),
}
FIRST_LAYERS = {"mlp": ["hidden.0"], "dcgan": ["body.0.0"], "igan": ["to_small", "to_large"]}


def plugin(**settings):
    return Mgan(Mgan.Config(**SMALL | settings))


def build(name, **settings):
    """Return a generator of 8x8 grey images and its first layers. K + 1 columns of the layers belong to biases."""
    spec = Spec(shape=(1, 8, 8))
    plugin(**settings).adjust_spec(spec)
    network = NETWORKS[name](spec)
    return network, [network.get_submodule(layer) for layer in FIRST_LAYERS[name]]


def gradient(layer):
    """Return the gradient of a first layer's weights, with the components of z in the last dimension."""
    return layer.weight.grad.movedim(0 if isinstance(layer, nn.ConvTranspose2d) else 1, -1)


def own_columns(generator):
    """Return the indices of the components of z that only this generator uses: its noise and its bias."""
    return [*range(generator * N, (generator + 1) * N), K * N + generator]


def choices(*generators):
    return nn.functional.one_hot(torch.tensor(generators), K).float()


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_z_contains_the_noise_in_the_components_of_one_generator(distribution):
    own, spec = plugin(distribution=distribution), Spec()
    own.adjust_spec(spec)
    z = own.sample_latent(6000, torch.device("cpu"), torch.Generator().manual_seed(0))
    assert z.shape == (6000, spec.latent_size) == (6000, K * N + K)
    blocks, choice = z[:, : K * N].view(-1, K, N), z[:, K * N :]
    assert set(choice.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(choice.sum(1), torch.ones(6000))
    assert torch.equal((blocks != 0).all(2), choice == 1)
    assert torch.equal((blocks != 0).any(2), choice == 1)
    # The number of samples of a generator is binomial. Five standard deviations around 1/K.
    assert (choice.mean(0) - 1 / K).abs().max() < 5 * (1 / K * (1 - 1 / K) / 6000) ** 0.5
    noise = blocks[choice == 1]
    assert noise.shape == (6000, N)
    variance, limit = (1, math.inf) if distribution == "normal" else (1 / 3, 1)
    assert abs(noise.mean()) < 5 * (variance / 24000) ** 0.5
    assert abs(noise.var() - variance) < 5 * (2 / 24000) ** 0.5
    assert noise.abs().max() <= limit
    # The choice does not depend on the noise: each generator gets noise with the same distribution.
    means = torch.stack([noise[choice[:, k] == 1].mean() for k in range(K)])
    assert means.abs().max() < 5 * (variance / (6000 / K * N * 0.9)) ** 0.5


def test_samples_depend_on_the_random_generator_only():
    before = torch.get_rng_state()
    one, two, other = (
        plugin().sample_latent(5, torch.device("cpu"), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_and_choice_are_read_from_z():
    noise, choice = torch.randn(5, N), choices(2, 0, 1, 1, 2)
    for expected, read in zip((noise, choice), split_latent(mixture_latent(noise, choice), K), strict=True):
        assert torch.equal(read, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_generator_equals_a_plain_one_with_its_own_first_layers(name):
    network, _ = build(name)
    # One generator whose last component of z is always 1, so that the weights of this component are a bias.
    alone, _ = build(name, generators=1, noise=N + 1)
    noise = torch.randn(5, N)
    for k in range(K):
        state = network.state_dict()
        for layer in FIRST_LAYERS[name]:
            weight = state[f"{layer}.weight"]
            state[f"{layer}.weight"] = weight[own_columns(k)] if name == "dcgan" else weight[:, own_columns(k)]
        alone.load_state_dict(state)
        images = network(mixture_latent(noise, choices(*[k] * 5)), None)
        torch.testing.assert_close(images, alone(torch.cat([noise, torch.ones(5, 1)], 1), None))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_own_layer_of_a_generator_gets_gradients_from_its_samples_only(name):
    noise, choice = torch.randn(7, N), choices(0, 2, 2, 0, 2, 0, 0)
    targets = torch.randn(7, 1, 8, 8)
    gradients = []
    for rows in (slice(None), choice[:, 0] == 1):
        torch.manual_seed(0)
        network, first = build(name)
        images = network(mixture_latent(noise[rows], choice[rows]), None)
        (images * targets[rows]).sum().backward()
        gradients.append([gradient(layer) for layer in first])
    for together, alone in zip(*gradients, strict=True):
        # The batch has images of generators 0 and 2. The gradients of generator 0 are those of its images.
        torch.testing.assert_close(together[..., own_columns(0)], alone[..., own_columns(0)])
        assert together[..., own_columns(2)].abs().sum() > 0
        assert not together[..., own_columns(1)].any()
        assert not alone[..., own_columns(1) + own_columns(2)].any()


@pytest.mark.parametrize(
    ("name", "first", "shared"),
    [
        # The second layer of 6 units, the last one of 64 pixels, and the shared bias of the 5 units.
        ("mlp", (N + 1) * 5, 5 * 6 + 6 + 6 * 64 + 64 + 5),
        # Sides 8 and 4: from 4x4x2 to the image by a transposed convolution with kernel 5, and the shared bias.
        ("dcgan", (N + 1) * 4 * 4 * 2, 2 * 25 + 1 + 2),
    ],
)
def test_parameters_are_the_shared_ones_and_those_of_k_first_layers(name, first, shared):
    assert count(build(name)[0]) == K * first + shared
    # A plain generator has the same shared layers. Its bias is the shared one.
    units = first // (N + 1)
    assert count(build(name, generators=1)[0]) == units * N + shared


def naive_cross_entropy(logits, choice):
    total = 0.0
    for row, chosen in zip(logits.tolist(), choice.tolist(), strict=True):
        k = chosen.index(1.0)
        total -= math.log(math.exp(row[k]) / sum(map(math.exp, row)))
    return total / len(logits)


@pytest.mark.parametrize(("player", "weight"), [("generator", 0.25), ("discriminator", 1.0)])
def test_both_players_minimise_the_cross_entropy_of_generated_images(player, weight):
    run = tiny_run({Mgan: SMALL})
    (term,) = [term for term in run.terms[player] if term.name == "classification"]
    assert term.weight == weight
    step = draw_step(run, player)
    logits = run.networks["generator_classifier"](run.discriminator(step.fake, None)[1])
    assert logits.shape == (8, K)
    assert term.function(step).item() == pytest.approx(naive_cross_entropy(logits, step.z[:, K * N :]), rel=1e-5)


def test_the_classifier_is_trained_by_the_discriminator_only():
    run = tiny_run({Mgan: SMALL})
    classifier = run.networks["generator_classifier"]
    weights = [classifier.weight.detach().clone()]
    for player in ("generator", "discriminator"):
        train_step(run, player)
        weights.append(classifier.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_classification_loss_trains_the_layers_that_d_and_g_share():
    run = tiny_run({Mgan: SMALL})
    for player in PLAYERS:
        (term,) = [term for term in run.terms[player] if term.name == "classification"]
        value = term.function(draw_step(run, player))
        parameters = dict(run.networks[player].named_parameters())
        gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
        reached = {name for name, g in zip(parameters, gradients, strict=True) if g is not None and g.any()}
        # The classifier uses D's features, so D's own last layer gets no gradient from it.
        last = {name for name in parameters if name.startswith("head")}
        assert {name for name in parameters if "weight" in name} - reached == {n for n in last if "weight" in n}


def test_the_generators_become_distinguishable():
    run = tiny_run({Mgan: SMALL | {"beta": 1.0}})
    assert draw_step(run, "generator").z.shape == (8, K * N + K)
    train_iterations(run, 80)
    assert run.values["generator"]["classification"].item() < math.log(K) / 2


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_one_generator_is_a_plain_gan(distribution):
    run = train_iterations(tiny_run({Mgan: {"generators": 1, "noise": N, "distribution": distribution}}), 3)
    plain = train_iterations(tiny_run({}, {"latent": {"use": distribution, "size": N}}), 3)
    assert run.networks.keys() == {"generator", "discriminator"}
    assert [term.name for term in run.terms["generator"]] == [term.name for term in plain.terms["generator"]]
    assert weights_of(run) == weights_of(plain)
    assert any("generators = 1 is an ordinary GAN" in warning for warning in run.warnings)


def test_a_checkpoint_contains_the_classifier():
    before, after = (state_of(train_iterations(tiny_run({Mgan: SMALL}), n)) for n in (1, 2))
    (name,) = [name for name in before if "generator_classifier" in name]
    assert before[name] != after[name]


@pytest.mark.parametrize(
    ("settings", "parts", "changes", "message"),
    [
        ({}, {"packing": {}}, {}, "with packing, D's inputs do not correspond to the z"),
        ({}, {"experience_replay": {"capacity": 8}}, {}, "with experience_replay, D's inputs do not"),
        ({}, {"skip_z": {}}, {}, "skip_z splits z among the levels of G"),
        ({}, {"truncation": {}}, {}, "z of the prior mgan cannot be truncated"),
        (
            {},
            {},
            {"data": {"classes": 2}, "discriminator": {"use": "igan_per_class", "width": 4}},
            "igan_per_class has a network for each class",
        ),
        ({"generators": 0}, {}, {}, "generators"),
        ({"beta": 0.0}, {}, {}, "beta"),
    ],
)
def test_what_cannot_work_is_refused(settings, parts, changes, message):
    with pytest.raises(RecipeError, match=message):
        tiny_run({Mgan: SMALL | settings, **parts}, changes)


def test_one_generator_allows_all_tricks():
    train_iterations(tiny_run({Mgan: {"generators": 1, "noise": N}, "packing": {}, "skip_z": {}}))


def test_truncation_of_samples_is_refused():
    sampler = Sampler.of_run(tiny_run({Mgan: SMALL}))
    with pytest.raises(InputError, match="z of the prior 'mgan' cannot be truncated"):
        sampler.sample(4, truncation=0.5)
