"""StyleGAN2's networks: the paper's sizes, their equations, classes, truncation, and other plugins."""

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from gankit import InputError, Recipe, Spec
from gankit.recipe.bundled import find_recipe
from gankit.sampling.generator_file import save_generator
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run, train_iterations
from gankit.testing.checks import check_resume
from gankit.training.assembly import assemble
from gankit_plugins.discriminator.stylegan2 import ResidualBlock, Stylegan2Discriminator
from gankit_plugins.generator.stylegan2 import Stylegan2
from gankit_plugins.layers.minibatch_stddev import DeviationMap, mean_deviation
from gankit_plugins.layers.resampling import downsample, low_pass_kernel, upsample

G_SMALL = {"w_size": 8, "mapping_layers": 2, "channel_base": 32, "max_channels": 8}
D_SMALL = {"channel_base": 32, "max_channels": 8}
SMALL = {Stylegan2: G_SMALL, Stylegan2Discriminator: D_SMALL}


def networks(shape, G=None, D=None, latent_size=512):
    spec = Spec(shape=shape, latent_size=latent_size)
    generator = Stylegan2(Stylegan2.Config(**(G or {}))).build_generator(spec)
    return generator, Stylegan2Discriminator(Stylegan2Discriminator.Config(**(D or {}))).build_discriminator(spec)


def styled(before, after):
    """Return the parameters of a styled layer: weights, the affine map from w, the noise's strength and the biases."""
    return 9 * before * after + 513 * before + 1 + after


def to_image(channels):
    return 3 * channels + 513 * channels + 3


def test_size_of_the_paper():
    """Compare configuration F at 1024x1024 with a count by hand. D's total is also that of a public log."""
    channels = [512, 512, 512, 512, 512, 256, 128, 64, 32]
    pairs = list(pairwise(channels))
    mapping = 8 * (512 * 512 + 512)
    synthesis = 16 * 512 + styled(512, 512) + sum(map(to_image, channels))
    synthesis += sum(styled(a, b) + styled(b, b) for a, b in pairs)
    last = 9 * 513 * 512 + 512 + (16 * 512 * 512 + 512) + (512 + 1)
    blocks = sum((9 * b * b + b) + (9 * b * a + a) + b * a for a, b in pairs)
    with torch.device("meta"):
        G, D = networks((3, 1024, 1024))
        maps = []
        for layers in G.synthesis.blocks:
            layers[-1].register_forward_hook(lambda module, x, y: maps.append(tuple(y.shape[1:])))
        images = G(torch.empty(2, 512), None)
        for block in D.body:
            block.register_forward_hook(lambda module, x, y: maps.append(tuple(y.shape[1:])))
        logits, features, _ = D(images, None)
    sides = [(count, 4 * 2**k, 4 * 2**k) for k, count in enumerate(channels)]
    assert maps == [*sides, *sides[-2::-1]]
    assert G.synthesis.layers == 18
    assert images.shape == (2, 3, 1024, 1024)
    assert (logits.shape, features.shape) == ((2,), (2, 512))
    size = sum(p.numel() for p in G.parameters())
    assert (mapping, size) == (2_101_248, mapping + synthesis)
    assert size == 30_370_060
    assert sum(p.numel() for p in D.parameters()) == (3 * 32 + 32) + blocks + last == 29_012_513


def activation(x, bias):
    x = x + bias[:, None, None]
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def test_generator_is_its_figure(perturbed):
    G, _ = networks((3, 16, 16), {**G_SMALL, "noise": False}, latent_size=5)
    S = perturbed(G).double().synthesis
    z = torch.randn(2, 5, dtype=torch.float64)
    w = iter(G.mapping(z, None)[None].expand(6, -1, -1))

    def layer(module, x, w):
        return activation(module.convolution(x, w), module.activation.bias)

    def share(module, x, w):
        return module.convolution(x, w) + module.bias[:, None, None]

    w0, w1, w2, w3, w4, w5 = w
    kernel = S.upsample.kernel
    x = layer(S.blocks[0][0], S.constant.expand(2, -1, -1, -1), w0)
    images = share(S.to_image[0], x, w1)
    x = layer(S.blocks[1][1], layer(S.blocks[1][0], x, w1), w2)
    images = upsample(images, kernel) + share(S.to_image[1], x, w3)
    x = layer(S.blocks[2][1], layer(S.blocks[2][0], x, w3), w4)
    images = upsample(images, kernel) + share(S.to_image[2], x, w5)
    torch.testing.assert_close(G(z, None), images)
    assert images.abs().max() > 1
    torch.testing.assert_close(G.eval()(z, None), images.clamp(-1, 1))


def test_each_layer_has_its_own_style(perturbed):
    """A w that changes from some layer on leaves the feature maps before it unchanged."""
    G, _ = networks((1, 8, 8), {**G_SMALL, "noise": False}, latent_size=5)
    S = perturbed(G).synthesis
    outputs = {}
    names = {"first": S.blocks[0][0], "image 4": S.to_image[0], "second": S.blocks[1][0], "third": S.blocks[1][1]}
    for name, module in (names | {"image 8": S.to_image[1]}).items():
        module.register_forward_hook(lambda module, x, y, name=name: outputs.__setitem__(name, y))
    expected = {0: "first", 1: "image 4", 2: "third", 3: "image 8"}
    ws = torch.randn(2, 4, 8)
    S(ws)
    before = dict(outputs)
    for place, name in expected.items():
        changed = ws.clone()
        changed[:, place:] += 1
        S(changed)
        order = list(before)
        earlier = order[: order.index(name)]
        assert all(torch.equal(outputs[n], before[n]) for n in earlier), (place, name)
        assert (outputs[name] - before[name]).abs().max() > 1e-4, (place, name)


def test_noise_changes_images_only_after_training_starts(perturbed):
    G, _ = networks((3, 8, 8), G_SMALL, latent_size=5)
    z = torch.randn(2, 5)
    assert torch.equal(G(z, None), G(z, None))
    perturbed(G)
    assert (G(z, None) - G(z, None)).abs().max() > 1e-3


def test_residual_block_is_its_figure(perturbed):
    block = perturbed(ResidualBlock(3, 4)).double()
    first, halving, last = block.residual
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    y = F.conv2d(x, first[0].weight / math.sqrt(27), padding=1)
    y = activation(y, first[1].bias)
    # A filtered image at full size, of which every second pixel is kept: the order of the operations is the paper's.
    wide = F.conv2d(F.pad(y, [2] * 4), halving.kernel.expand(3, 1, 4, 4), groups=3)
    y = F.conv2d(wide, halving.convolution.weight / math.sqrt(27))[:, :, ::2, ::2]
    y = activation(y, last.bias)
    shortcut = F.conv2d(x, block.shortcut[1].weight / math.sqrt(3))
    shortcut = downsample(shortcut, block.shortcut[0].kernel)
    torch.testing.assert_close(block(x), (y + shortcut) / math.sqrt(2))


def test_both_paths_of_a_block_see_the_same_pixels():
    """A constant image stays constant away from the border, and both paths are centred between two pixels."""
    block = ResidualBlock(1, 1)
    x = torch.arange(16.0).expand(1, 1, 16, 16)
    kernel = low_pass_kernel()
    for module in (block.residual[0][0], block.residual[1].convolution, block.shortcut[1]):
        weight = torch.zeros_like(module.weight)
        weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = 1 / module.scale
        module.weight.data = weight
    expected = downsample(x, kernel)[:, :, 2:-2, 2:-2]
    torch.testing.assert_close(block.shortcut(x)[:, :, 2:-2, 2:-2], expected)
    torch.testing.assert_close(block.residual(x)[:, :, 2:-2, 2:-2], 2 * expected)


def test_logit_is_linear_in_the_features(perturbed):
    _, D = networks((3, 8, 8), D=D_SMALL)
    perturbed(D)
    logits, features, _ = D(torch.randn(3, 3, 8, 8), None)
    torch.testing.assert_close(logits, features @ D.head.weight[0] / math.sqrt(8) + D.head.bias)


@pytest.mark.parametrize(("count", "group"), [(8, 4), (6, 4), (3, 4), (4, 4), (1, 4), (5, 1)])
def test_deviation_within_groups(count, group):
    x = torch.randn(count, 3, 2, 4)
    y = DeviationMap(group)(x)
    assert torch.equal(y[:, :3], x)
    for i in range(count):
        start = i // group * group
        rest = x[start : start + group]
        expected = (rest.var(0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[i, 3], expected.expand(2, 4))
    if count <= group:
        torch.testing.assert_close(y[:, 3, 0, :1], mean_deviation(x.flatten(1), None))


def test_gradients_of_gradients_by_finite_differences():
    """R1 needs second derivatives of D."""
    torch.manual_seed(0)
    _, D = networks((1, 8, 8), D={"channel_base": 8, "max_channels": 2, "stddev_group": 4})
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: D.double()(x, None).logits, images)


def test_other_sizes_are_refused():
    for plugin in (
        Stylegan2(Stylegan2.Config(**G_SMALL)),
        Stylegan2Discriminator(Stylegan2Discriminator.Config(**D_SMALL)),
    ):
        build = getattr(plugin, f"build_{plugin.kind}")
        with pytest.raises(InputError, match="stylegan2 needs square images"):
            build(Spec(shape=(3, 8, 16)))


@pytest.mark.parametrize("side", [4, 8, 64])
@pytest.mark.parametrize("channels", [1, 4])
def test_every_power_of_two(side, channels):
    G, D = networks((channels, side, side), G_SMALL, D_SMALL, latent_size=5)
    images = G(torch.randn(3, 5), None)
    assert images.shape == (3, channels, side, side)
    assert D(images, None).logits.shape == (3,)


CONDITIONAL = {
    "data": {"classes": 3},
    "generator": {"conditional": True},
    "tricks": {"projection": {}, "moving_average": {}, "r1": {"every": 2}},
}


def test_class_through_the_mapping_network_and_the_projection():
    run = train_iterations(tiny_run(SMALL, CONDITIONAL), 2)
    G, D = run.generator.eval(), run.discriminator.eval()
    images = G(torch.randn(1, run.spec.latent_size).expand(3, -1), torch.arange(3))
    assert all((images[i] - images[j]).abs().max() > 1e-4 for i, j in ((0, 1), (0, 2), (1, 2)))
    logits = D(images[:1].expand(3, -1, -1, -1), torch.arange(3)).logits
    assert len(set(logits.tolist())) == 3


def test_conditional_run_resumes_exactly():
    check_resume(SMALL, CONDITIONAL, before=1, after=3)


def test_attributes_are_a_condition():
    run = train_iterations(tiny_run(SMALL, {"data": {"condition": "vector"}, "generator": {"conditional": True}}), 1)
    assert run.spec.conditional


def test_condition_without_classes_is_refused():
    with pytest.raises(InputError, match="stylegan2 with conditional = true needs labels, and the dataset has none"):
        tiny_run(SMALL, {"generator": {"conditional": True}})


INSTALLED = {
    "latent": {"use": "normal", "size": 8},
    "normalization": {"generator": {"use": "none"}, "discriminator": {"use": "none"}},
    "generator": {"noise": False},
}
"""Plugins that a generator file needs are installed."""


def test_truncation_from_the_file_of_any_run(tmp_path):
    run = train_iterations(tiny_run(SMALL, INSTALLED), 3)
    file = tmp_path / "g.safetensors"
    save_generator(run, file)
    whole = Sampler.load(file, "cpu")
    centre = run.generator.mapping.w_mean
    assert centre.any()
    z = torch.randn(4, 8)
    ws = whole.generator.styles(z, None)
    half = Sampler.load(file, "cpu", overrides=["generator.psi=0.5", "generator.psi_layers=2"]).generator.styles(
        z, None
    )
    torch.testing.assert_close(half[:, :2], centre + 0.5 * (ws[:, :2] - centre))
    torch.testing.assert_close(half[:, 2:], ws[:, 2:])
    images, _ = Sampler.load(file, "cpu", overrides=["generator.psi=0"]).sample(3)
    assert (images == images[:1]).all()


def test_truncation_in_a_run_acts_on_samples_only():
    plain, truncated = (train_iterations(tiny_run(SMALL, INSTALLED | change), 2) for change in (
        {}, {"generator": {"noise": False, "psi": 0.0}}
    ))  # fmt: skip
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.generator.state_dict().values(), truncated.generator.state_dict().values(), strict=True)
    )
    images, _ = Sampler.of_run(truncated).sample(3)
    assert (images == images[:1]).all()


@pytest.mark.parametrize(
    "tricks",
    [
        ["moving_average", "ada", "r1", "path_length", "style_mixing"],
        ["diff_augment", "gradient_penalty"],
        ["packing"],
        ["self_attention"],
        ["spectral_weights", "orthogonal_regularization"],
        ["orthogonal_init", "minibatch_stddev"],
        ["relativistic", "r2"],
        ["dropout", "unrolled_discriminator"],
        ["skip_z"],
    ],
)
def test_with_other_tricks(tricks):
    train_iterations(tiny_run(SMALL, {"tricks": {name: {} for name in tricks}}), 1)


RECIPES = {
    "stylegan2_cifar10": (32, {"projection", "r1", "moving_average"}, 2.5e-3, "stylegan2"),
    "stylegan_cifar10": (32, {"projection", "r1", "moving_average"}, 2.5e-3, "stylegan"),
    "stylegan2_ada_emoji": (16, {"ada", "style_mixing", "r1", "path_length", "moving_average"}, 2.5e-3, "stylegan2"),
    "stylegan2_paper": (32, {"flip", "style_mixing", "r1", "path_length", "moving_average"}, 2e-3, "stylegan2"),
    "stylegan_paper": (32, {"flip", "style_mixing", "r1", "moving_average"}, 3e-3, "stylegan"),
}
"""Batch size, tricks, learning rate and networks of each recipe."""


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_that_of_its_header_and_trains(name):
    batch_size, tricks, rate, networks = RECIPES[name]
    small = ["data={use='shapes', resolution=16, count=40}", "train.batch_size=6", "train.device=cpu"]
    small += [f"{player}.channel_base=32" for player in ("generator", "discriminator")]
    given = Recipe.load(find_recipe(name), small[:1])
    assert given.train.batch_size == batch_size
    assert {key.removeprefix("tricks.") for key in given.components if key.startswith("tricks.")} == tricks
    assert given.use_of("generator") == given.use_of("discriminator") == networks
    for player in ("generator", "discriminator"):
        config = given.components[f"optimizer.{player}"].config
        assert (config.lr, config.betas) == (rate, (0.0, 0.99))
    run = assemble(Recipe.load(find_recipe(name), [*small, "generator.w_size=8"]))
    assert run.warnings == []
    run.load_data()
    run.start()
    train_iterations(run, 2)
