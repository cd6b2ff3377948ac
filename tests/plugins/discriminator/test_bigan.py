"""BiGAN: pairs of an image and its z, the losses of both kinds of pairs, the paper's sizes and its optimum."""

import math

import pytest
import torch
from torch import nn

from gankit import Plugin, Recipe, Sampler, Spec, hookimpl
from gankit.errors import RecipeError
from gankit.plugin.slots import PLAYERS
from gankit.testing import tiny_run, train_iterations
from gankit.training.assembly import assemble
from gankit.training.reconstruction import encode, reconstruct
from gankit.training.state import load_networks
from gankit.training.update import draw_step
from gankit_plugins.discriminator.bigan import BiganDiscriminator, Encoder
from gankit_plugins.generator.bigan import BiganGenerator
from tests.plugins.conftest import train

SMALL = {"units": 8, "encoder_units": 6}


def bigan_run(loss="non_saturating", **changes):
    return tiny_run({BiganDiscriminator: SMALL}, {"loss": {"use": loss}, **changes})


def logits_of(run, images, z):
    return run.discriminator(images, z).logits.tolist()


def cross_entropy(logit, target):
    return -math.log(1 / (1 + math.exp(-logit if target else logit)))


def hinge(logit, target):
    return max(0.0, 1 - logit if target else 1 + logit)


def wasserstein(logit, target):
    return -logit if target else logit


def squares(logit, target):
    return (logit - target) ** 2 / 2


@pytest.mark.parametrize(
    ("loss", "single"),
    [("non_saturating", cross_entropy), ("hinge", hinge), ("wasserstein", wasserstein), ("least_squares", squares)],
)
@pytest.mark.parametrize("player", PLAYERS)
def test_losses_by_a_naive_loop(player, loss, single):
    run = bigan_run(loss=loss)
    (term,) = run.terms[player]
    step = draw_step(run, player)
    real = logits_of(run, step.real, run.networks["encoder"](step.real))
    fake = logits_of(run, step.fake, step.z)
    # D's labels are 1 for real and 0 for generated pairs. G and E are trained with the opposite labels on both.
    label = 1 if player == "discriminator" else 0
    expected = sum(single(x, label) for x in real) / 8 + sum(single(x, 1 - label) for x in fake) / 8
    assert term.function(step).item() == pytest.approx(expected, rel=1e-4)


def test_targets_of_label_smoothing_apply_to_the_exchanged_pairs():
    run = bigan_run()
    (term,) = run.terms["generator"]
    step = draw_step(run, "generator")
    step.generator_target = 0.0
    real = logits_of(run, step.real, run.networks["encoder"](step.real))
    fake = logits_of(run, step.fake, step.z)
    expected = sum(cross_entropy(x, 1) for x in real) / 8 + sum(cross_entropy(x, 0) for x in fake) / 8
    assert term.function(step).item() == pytest.approx(expected, rel=1e-4)


class Only(Plugin):
    name = "only"

    class Config(Plugin.Config):
        player: str = "generator"

    @hookimpl
    def step_order(self):
        return [self.config.player]


@pytest.mark.parametrize(
    ("player", "trained"), [("generator", {"generator", "encoder"}), ("discriminator", {"discriminator"})]
)
def test_each_step_changes_exactly_the_networks_of_its_player(player, trained):
    run = tiny_run({BiganDiscriminator: SMALL, Only: {"player": player}})
    before = {
        name: {key: p.detach().clone() for key, p in network.named_parameters()}
        for name, network in run.networks.items()
    }
    train_iterations(run, 1)
    same = {
        (name, key): torch.equal(p, before[name][key])
        for name, network in run.networks.items()
        for key, p in network.named_parameters()
    }
    assert {name for (name, _), equal in same.items() if not equal} == trained
    assert {name for (name, _), equal in same.items() if equal} == set(run.networks) - trained
    assert set(run.networks) == {"generator", "discriminator", "encoder"}


def test_e_learns_from_real_pairs_and_g_from_generated_pairs():
    run = bigan_run()
    G, E, D = (run.networks[name] for name in ("generator", "encoder", "discriminator"))
    step = draw_step(run, "generator")
    on_real = nn.functional.softplus(D(step.real, E(step.real)).logits).mean()
    on_fake = nn.functional.softplus(-D(step.fake, step.z).logits).mean()
    weights = [next(network.parameters()) for network in (G, E)]
    expected = [
        torch.autograd.grad(value, weight, retain_graph=True)[0]
        for value, weight in zip((on_fake, on_real), weights, strict=True)
    ]
    (term,) = run.terms["generator"]
    actual = torch.autograd.grad(term.function(step), weights)
    torch.testing.assert_close(actual, tuple(expected), rtol=1e-4, atol=1e-8)
    assert all(gradient.abs().max() > 1e-8 for gradient in expected)


def test_d_gets_the_z_of_generated_and_the_encoded_z_of_real_images():
    run = bigan_run()
    step = draw_step(run, "discriminator")
    images, z = step.real_inputs
    assert images is step.real
    torch.testing.assert_close(z, run.networks["encoder"](step.real))
    assert step.fake_inputs == (step.fake, step.z)


def test_augmentations_change_the_image_but_not_its_z():
    run = tiny_run({BiganDiscriminator: SMALL, "instance_noise": {"sigma": 1.0}})
    step = draw_step(run, "discriminator")
    run.networks["encoder"].eval()
    images, z = step.real_inputs
    assert (images - step.real).abs().max() > 0.1
    torch.testing.assert_close(z, run.networks["encoder"](step.real))


# The optimum: linear networks whose inverse is known


def linear_run():
    """Return a run with G(z) = W z on images of 1x2x2 pixels, and E(x) = W^-1 x."""
    run = tiny_run(
        {BiganDiscriminator: SMALL},
        {"data": {"channels": 1, "resolution": 2}, "latent": {"size": 4}},
    )
    W = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0] * 0.5

    class LinearG(nn.Linear):
        def forward(self, z, labels):
            return super().forward(z).view(-1, 1, 2, 2)

    G, E = LinearG(4, 4, bias=False), nn.Sequential(nn.Flatten(), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        G.weight.copy_(W)
        E[1].weight.copy_(torch.linalg.inv(W))
    run.networks |= {"generator": G, "encoder": E}
    return run


def step_with_real_images_of_g(run, player):
    step = draw_step(run, player)
    step.real = step.fake.detach().clone()
    return step


def test_at_the_inverse_the_reconstruction_error_is_zero():
    run = linear_run()
    images = run.generator(torch.randn(16, 4), None).detach()
    assert (run.generator(encode(run, images), None) - images).abs().max() < 1e-6
    run.networks["encoder"][1].weight.data[0, 0] += 0.1
    assert (run.generator(encode(run, images), None) - images).abs().max() > 1e-3


def test_at_the_inverse_the_pairs_are_equal_and_the_constant_d_is_optimal():
    """Donahue 2017, theorems 1 and 2: the value of the game is -ln 4, and D = 1/2 everywhere."""
    run = linear_run()
    step = step_with_real_images_of_g(run, "discriminator")
    torch.testing.assert_close(step.real_inputs[1], step.fake_inputs[1], atol=1e-6, rtol=0)
    nn.init.zeros_(run.discriminator.head.weight)
    (term,) = run.terms["discriminator"]
    loss = term.function(step)
    assert loss.item() == pytest.approx(math.log(4))
    loss.backward()
    assert all(p.grad.abs().max() < 1e-6 for p in run.discriminator.parameters())
    # Any other D has a larger loss.
    run.discriminator.head.weight.data.normal_()
    other = term.function(step_with_real_images_of_g(run, "discriminator"))
    assert other.item() > math.log(4)


def test_away_from_the_inverse_d_separates_the_pairs():
    run = linear_run()
    run.networks["encoder"][1].weight.data.neg_()
    step = step_with_real_images_of_g(run, "discriminator")
    nn.init.normal_(run.discriminator.head.weight)
    (term,) = run.terms["discriminator"]
    loss = term.function(step)
    loss.backward()
    assert max(p.grad.abs().max() for p in run.discriminator.parameters()) > 1e-3


def test_command_reconstruct_uses_the_encoder_and_the_generator_of_the_run(plain_recipe, tmp_path):
    slots = {
        "latent": {"use": "uniform", "size": 5},
        "generator": {"use": "bigan", "units": 8},
        "discriminator": {"use": "bigan", **SMALL},
        "normalization": {"generator": {"use": "batch_norm"}},
        "tricks": {"moving_average": {"decay": 0.5}},
    }
    path = train(plain_recipe("igan") | slots, tmp_path / "run")
    result = reconstruct(path, (), 12, "cpu")
    run = assemble(Recipe.load(path / "recipe.toml"))
    load_networks(run, path / "checkpoints" / "000004")
    real = result.originals / 127.5 - 1
    G = Sampler.load(path / "generator.safetensors", "cpu").generator
    with torch.no_grad():
        fake = G(run.networks["encoder"].eval()(real), None)
    assert result.error == pytest.approx((fake - real).square().mean().item(), rel=1e-4)
    assert (result.reconstructions / 127.5 - 1 - fake).abs().max() < 1 / 127


# Networks


def norms(player, layer, features):
    return nn.Sequential(layer, nn.BatchNorm1d(features, affine=False))


# Donahue 2017, appendix C, for MNIST: 784 pixels, 50 numbers in z, two hidden layers of 1,024 units with biases.
PAPER_G = (50 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 784 + 784)
PAPER_E = (784 * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 * 50 + 50)
PAPER_D = ((784 + 50) * 1024 + 1024) + (1024 * 1024 + 1024) + (1024 + 1)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_papers_sizes():
    spec = Spec(shape=(1, 28, 28), latent_size=50, normalize=norms)
    with torch.device("meta"):
        G = BiganGenerator(BiganGenerator.Config()).build_generator(spec)
        D = BiganDiscriminator(BiganDiscriminator.Config()).build_discriminator(spec)
        E = Encoder(spec, BiganDiscriminator.Config().encoder_units)
        images = G(torch.zeros(3, 50), None)
        logits, features = D(images, E(images))[:2]
    assert (parameters(G), parameters(E), parameters(D)) == (PAPER_G, PAPER_E, PAPER_D)
    assert (images.shape, logits.shape, features.shape) == ((3, 1, 28, 28), (3,), (3, 1024))
    assert E(images).shape == (3, 50)


def test_layers_in_the_order_of_the_paper():
    calls = []
    spec = Spec(shape=(1, 4, 4), latent_size=5)
    spec.normalize = lambda player, layer, features: calls.append((player, layer, features)) or layer
    G = BiganGenerator(BiganGenerator.Config(units=7)).build_generator(spec)
    D = BiganDiscriminator(BiganDiscriminator.Config(units=6)).build_discriminator(spec)
    E = Encoder(spec, 3)
    assert [(player, features) for player, _, features in calls] == [
        ("generator", 7),
        ("discriminator", 6),
        ("generator", 3),
    ]
    for network, activation in ((G, nn.ReLU), (D, nn.LeakyReLU), (E, nn.LeakyReLU)):
        assert [type(layer) for layer in network.hidden] == [nn.Linear, activation, nn.Linear, activation]
        assert calls.pop(0)[1] is network.hidden[2]
    assert D.hidden[1].negative_slope == E.hidden[1].negative_slope == 0.2


def test_d_depends_on_the_image_and_on_z():
    D = BiganDiscriminator(BiganDiscriminator.Config(**SMALL)).build_discriminator(Spec(shape=(1, 4, 4), latent_size=5))
    for layer in (D.hidden[0], D.hidden[2], D.head):
        nn.init.normal_(layer.weight)
    images, z = torch.randn(3, 1, 4, 4), torch.randn(3, 5)
    logits, features = D(images, z)[:2]
    torch.testing.assert_close(logits, features @ D.head.weight[0] + D.head.bias)
    assert (logits - D(images, -z).logits).abs().min() > 1e-4
    assert (logits - D(-images, z).logits).abs().min() > 1e-4


def test_initial_weights():
    torch.manual_seed(0)
    E = Encoder(Spec(shape=(1, 28, 28), latent_size=50), 256)
    for layer in (E.hidden[0], E.hidden[2], E.to_z):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert layer.bias.abs().max() == 0


# Other plugins of a recipe


@pytest.mark.parametrize(
    "name",
    [
        *("packing", "experience_replay", "gradient_penalty", "zero_centered_penalty"),
        *("minibatch_stddev", "minibatch_discrimination"),
    ],
)
def test_plugins_that_cannot_work_with_pairs_are_refused(name):
    with pytest.raises(RecipeError, match=rf"discriminator: D takes pairs of an image and z, and with {name}, .*"):
        tiny_run({BiganDiscriminator: SMALL, name: {}})


@pytest.mark.parametrize("player", PLAYERS)
def test_virtual_batch_norm_is_refused(player):
    with pytest.raises(RecipeError, match="with virtual_batch_norm, its reference batch has images without z"):
        bigan_run(normalization={player: {"use": "virtual_batch_norm", "size": 8}})


def test_prior_of_infogan_is_refused_but_not_its_generator():
    with pytest.raises(
        RecipeError, match="with the latent infogan, its codes are predicted without the z that D needs"
    ):
        bigan_run(latent={"use": "infogan"})
    train_iterations(bigan_run(generator={"use": "infogan", "width": 2, "units": 4}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "minimax"}, "minimax has the effect of non_saturating"),
        ({"tricks": {"feature_matching": {}}}, "feature_matching replaces the loss of G and E"),
    ],
)
def test_warnings(changes, message):
    assert any(message in sentence for sentence in bigan_run(**changes).warnings)


@pytest.mark.parametrize(
    "name",
    ["r1", "dragan", "relativistic", "diff_augment", "unrolled_discriminator", "top_k", "consistency_regularization"],
)
def test_tricks_that_work_with_pairs(name):
    run = train_iterations(tiny_run({BiganDiscriminator: SMALL, name: {}}, {"data": {"classes": 2}}), 2)
    assert all(torch.isfinite(p).all() for network in run.networks.values() for p in network.parameters())


def test_relativistic_terms_replace_those_of_the_single_logits():
    run = tiny_run({BiganDiscriminator: SMALL, "relativistic": {}})
    (term,) = run.terms["generator"]
    step = draw_step(run, "generator")
    real, fake = step.real_output.logits, step.fake_output.logits
    expected = -2 * nn.functional.logsigmoid(fake - real).mean()
    torch.testing.assert_close(term.function(step), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"latent": {"use": "mgan"}},
        {"latent": {"use": "infogan"}},
        {"loss": {"use": "ebgan"}},
        {"loss": {"use": "began"}},
        {"tricks": {"projection": {}}},
        {"tricks": {"auxiliary_classifier": {}}},
        {"normalization": {"generator": {"use": "conditional_batch_norm"}}},
    ],
    ids=str,
)
def test_partners_without_pairs_are_refused_in_one_sentence(change):
    with pytest.raises(RecipeError, match=r"D takes pairs of an image and z, and with .*; remove one of the two"):
        tiny_run({BiganDiscriminator: {"units": 4, "encoder_units": 4}}, {"data": {"classes": 2}} | change)
