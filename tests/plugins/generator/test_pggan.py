"""PGGAN's networks: table 2, fading, the levels that are not reached, and the range of the images."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gankit import Spec
from gankit_plugins.discriminator.pggan import PgganDiscriminatorNetwork
from gankit_plugins.generator.pggan import PgganGenerator
from gankit_plugins.layers.equalised import EqualisedConv2d, EqualisedLinear
from gankit_plugins.layers.minibatch_stddev import mean_deviation
from gankit_plugins.layers.pixel_norm import PixelNorm
from gankit_plugins.layers.progressive import Growth, enlarge, shrink


def norms(player, layer, features):
    return torch.nn.Sequential(layer, PixelNorm()) if player == "generator" else layer


def networks(side, width, max_width=4, latent_size=5, channels=3):
    torch.manual_seed(0)
    spec = Spec(shape=(channels, side, side), latent_size=latent_size, normalize=norms)
    return PgganGenerator(spec, width, max_width), PgganDiscriminatorNetwork(spec, width, max_width)


def conv(before, after, kernel=3):
    return before * after * kernel**2 + after


CHANNELS = [512, 512, 512, 512, 256, 128, 64, 32, 16]
"""Channels at 4x4, 8x8, ..., 1024x1024 (Karras 2017, table 2)."""


def test_table_2():
    """Both networks have 23.1 million parameters, without the layers to and from smaller images."""
    pairs = list(pairwise(CHANNELS))
    g = conv(512, 512, 4) + conv(512, 512) + sum(conv(a, b) + conv(b, b) for a, b in pairs) + conv(16, 3, 1)
    d = conv(3, 16, 1) + sum(conv(b, b) + conv(b, a) for a, b in pairs) + conv(513, 512) + conv(512, 512, 4) + 513
    with torch.device("meta"):
        G, D = networks(1024, 16, 512, 512)
        images = G(torch.empty(2, 512), None)
        output = D(images, None)
    assert images.shape == (2, 3, 1024, 1024)
    assert (output.logits.shape, output.features.shape) == ((2,), (2, 512))

    def parameters(network, other):
        names = {name: p.numel() for name, p in network.named_parameters()}
        return sum(n for name, n in names.items() if not name.startswith(other) or name.startswith(f"{other}.8."))

    assert (parameters(G, "to_image"), parameters(D, "from_image")) == (g, d)
    assert round(g / 1e6, 1) == round(d / 1e6, 1) == 23.1


@pytest.mark.parametrize("network", [0, 1])
def test_all_layers_have_an_equalised_rate(network):
    """Initial weights are from N(0, 1); He's gain is before leaky ReLU, 1 in the last layer (section 4.1)."""
    net = networks(64, 32, 128, 128)[network]
    layers = {name: m for name, m in net.named_modules() if hasattr(m, "weight")}
    assert all(isinstance(m, EqualisedConv2d | EqualisedLinear) for m in layers.values())
    for name, layer in layers.items():
        last = name.startswith(("to_image", "head"))
        assert layer.scale == pytest.approx(((1 if last else 2) / layer.weight[0].numel()) ** 0.5)
        assert not layer.bias.any()
        if layer.weight.numel() > 10_000:
            assert layer.weight.std().item() == pytest.approx(1, abs=0.03)


def smaller_copy(network, other):
    """Copy the weights of the lower levels of a network into one for smaller images."""
    state = network.state_dict()
    other.load_state_dict(
        {name: state[name] for name in other.state_dict() if name != "growth"} | {"growth": other.growth}
    )
    return other


@pytest.mark.parametrize("level", [1, 2, 3])
def test_fading_generator(level):
    """Compare with networks without growth for smaller images, at alpha 0, at alpha 1, and between."""
    G, _ = networks(32, 1)
    small = smaller_copy(G, networks(4 << (level - 1), 1 << (4 - level))[0])
    large = smaller_copy(G, networks(4 << level, 1 << (3 - level))[0])
    z = torch.randn(4, 5)
    lower, higher = (enlarge(n(z, None), 32 // s) for n, s in ((small, 2 << level), (large, 4 << level)))
    assert lower.shape == higher.shape == (4, 3, 32, 32)
    assert not torch.allclose(lower, higher)
    for step in (0, 1, 4, 7, 8):
        G.grow(Growth(level, step, 8))
        torch.testing.assert_close(G(z, None), (1 - step / 8) * lower + step / 8 * higher)
    G.grow(Growth(level - 1, 1, 1))
    torch.testing.assert_close(G(z, None), lower, rtol=0, atol=0)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_fading_discriminator(level):
    """The same for D, whose features fade. Images of the full size and of the level give the same logits."""
    _, D = networks(32, 1)
    small = smaller_copy(D, networks(4 << (level - 1), 1 << (4 - level))[1])
    large = smaller_copy(D, networks(4 << level, 1 << (3 - level))[1])
    images = torch.randn(4, 3, 32, 32)
    at_level = shrink(images, 8 >> level)
    lower, higher = small(shrink(at_level), None).logits, large(at_level, None).logits
    assert not torch.allclose(lower, higher)
    for step, expected in ((0, lower), (8, higher)):
        D.grow(Growth(level, step, 8))
        for x in (images, at_level):
            torch.testing.assert_close(D(x, None).logits, expected)
    D.grow(Growth(level, 4, 8))
    features = [D.from_image[level - 1](shrink(at_level)), D.blocks[level](D.from_image[level](at_level))]
    x = (features[0] + features[1]) / 2
    for block in reversed(D.blocks[:level]):
        x = block(x)
    torch.testing.assert_close(D(images, None).logits, D.head(x).flatten())


def test_deviation_over_the_whole_batch():
    """The 4x4 block gets one more channel. Its value is the deviation over all images (section 3)."""
    _, D = networks(4, 2)
    seen = []
    D.blocks[0][1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.randn(9, 3, 4, 4)
    D(images, None)
    x = D.from_image[0](images)
    assert torch.equal(seen[0][:, :-1], x)
    torch.testing.assert_close(seen[0][:, -1], mean_deviation(x.flatten(1), None)[:, :, None].expand(9, 4, 4))


@pytest.mark.parametrize("level", [0, 1, 2])
def test_higher_levels_have_no_gradient(level):
    G, D = networks(16, 1)
    for step in (1, 2):
        for network in (G, D):
            network.zero_grad()
            network.grow(Growth(level, step if level else 2, 2))
        D(G(torch.randn(4, 5), None), None).logits.sum().backward()
        fading = level > 0 and step == 1
        for network, image in ((G, "to_image"), (D, "from_image")):
            reached = {
                int(name.split(".")[1])
                for name, p in network.named_parameters()
                if "blocks" in name and p.grad is not None
            }
            images = {
                int(name.split(".")[1])
                for name, p in network.named_parameters()
                if image in name and p.grad is not None
            }
            assert reached == set(range(level + 1))
            assert images == ({level - 1, level} if fading else {level})


def test_lower_levels_cost_less():
    """Operations of table 2 grow with the level; 8x8 takes less than a hundredth of 1024x1024."""
    with torch.device("meta"):
        nets = networks(1024, 16, 512, 512)
    for network, given in zip(nets, ((1, 512), (1, 3, 1024, 1024)), strict=True):
        flops = []
        for level in range(9):
            network.grow(Growth(level, 1, 1))
            with FlopCounterMode(display=False) as counter:
                network(torch.empty(given, device="meta"), None)
            flops.append(counter.get_total_flops())
        assert flops == sorted(flops)
        assert flops[-1] > 100 * flops[1]


def test_range():
    """The last layer is linear. Values outside [-1, 1] remain in training, and are clamped in evaluation mode."""
    G, _ = networks(8, 4)
    z = torch.randn(16, 5)
    linear = G(z, None)
    assert linear.abs().max() > 1
    assert torch.equal(G.eval()(z, None), linear.clamp(-1, 1))


def test_z_lies_on_a_sphere():
    G, _ = networks(8, 4)
    z = torch.randn(3, 5)
    torch.testing.assert_close(G(z, None), G(7 * z, None))


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("side", [4, 64])
def test_sizes(side, channels):
    G, D = networks(side, 2, channels=channels)
    images = G(torch.randn(2, 5), None)
    assert images.shape == (2, channels, side, side)
    assert D(images, None).logits.shape == (2,)


def test_no_waiting_while_a_level_fades_in(no_waiting):
    """In training, the growth is not read from the device."""
    G, D = networks(16, 1)
    for network in (G, D):
        network.grow(Growth(1, 1, 2))
    z = torch.randn(4, 5)
    with no_waiting:
        images = D.fade_detail(D.to_level(G(z, None)))
        D(images, None).logits.sum().backward()


def test_memory_format_does_not_change_the_output():
    nets = networks(16, 1)
    for network, x in zip(nets, (torch.randn(4, 5), torch.randn(4, 3, 16, 16)), strict=True):
        network.grow(Growth(2, 1, 2))
        expected = network(x, None)
        network.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
        torch.testing.assert_close(network(x, None), expected)


def test_second_gradient_of_d():
    """A gradient penalty differentiates the gradient with respect to the images."""
    D = networks(8, 1)[1].double()
    D.grow(Growth(1, 1, 2))
    weight = D.blocks[1][0][0].weight
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def penalty():
        (gradient,) = torch.autograd.grad(D(images, None).logits.sum(), images, create_graph=True)
        return gradient.square().sum()

    (exact,) = torch.autograd.grad(penalty(), weight)
    for index in ((0, 0, 1, 1), (0, 0, 0, 2)):
        values, h = [], 1e-6
        for sign in (1, -1):
            with torch.no_grad():
                weight[index] += sign * h
            values.append(penalty().item())
            with torch.no_grad():
                weight[index] -= sign * h
        assert exact[index].item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-4, abs=1e-6)
