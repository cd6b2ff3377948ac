"""Truncation in w, style mixing, and the generators that have a w."""

import pytest
import torch
from torch import nn

from gankit import InputError
from gankit_plugins.layers.mapping import MappingNetwork
from gankit_plugins.layers.style_generator import (
    StyleGenerator,
    Synthesis,
    mix_styles,
    require_style_generator,
    truncate_styles,
)


class Recorded(Synthesis):
    """Synthesis network of five layers that returns the w of each layer as an image."""

    layers = 5

    def forward(self, ws):
        return ws[:, None]


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return StyleGenerator(MappingNetwork(4, 3, 2), Recorded())


Z = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("count", [None, 0, 2, 5, 9])
def test_truncation_moves_w_towards_the_mean(count):
    ws, mean = torch.randn(4, 5, 3), torch.randn(3)
    expected = ws.clone()
    for layer in range(5 if count is None else min(count, 5)):
        for image in range(4):
            expected[image, layer] = mean + 0.3 * (ws[image, layer] - mean)
    torch.testing.assert_close(truncate_styles(ws, mean, 0.3, count), expected)


@pytest.mark.parametrize("psi_layers", [None, 2])
def test_truncation_acts_in_evaluation_mode_only(generator, psi_layers):
    generator.mapping.w_mean += torch.randn(3)
    plain = generator.eval()(Z, None)
    generator.psi, generator.psi_layers = 0.4, psi_layers
    torch.testing.assert_close(
        generator(Z, None), truncate_styles(plain[:, 0], generator.mapping.w_mean, 0.4, psi_layers)[:, None]
    )
    generator.psi = 0.0
    assert torch.equal(generator(Z, None)[0, 0, 0], generator.mapping.w_mean)
    assert torch.equal(generator.train()(Z, None), plain)


def test_without_mixing_all_layers_have_the_same_w(generator):
    w = generator.mapping.eval()(Z, None)
    assert torch.equal(generator(Z, None), w[:, None, None].expand(6, 1, 5, 3))


def test_mixed_image_has_two_w_with_a_random_crossover():
    torch.manual_seed(0)
    ws, others = torch.zeros(40_000, 5, 2), torch.ones(40_000, 5, 2)
    mixed = mix_styles(ws, others, 0.9)
    assert torch.equal(mixed[..., 0], mixed[..., 1])
    count = mixed[..., 0].sum(1)
    # The layers of the other w are the last ones.
    assert torch.equal(mixed[..., 0], (torch.arange(5) >= 5 - count[:, None]).float())
    shares = torch.bincount(count.long(), minlength=6) / len(count)
    torch.testing.assert_close(shares, torch.tensor([0.1, *[0.9 / 4] * 4, 0.0]), rtol=0, atol=0.01)


def test_mixing_acts_in_training_mode_only_with_the_w_of_other_images(generator):
    plain = generator.eval()(Z, None)
    generator.mixing = 1.0
    assert torch.equal(generator(Z, None), plain)
    mixed = generator.train()(Z, None)
    torch.testing.assert_close(mixed[:, 0, 0], plain[:, 0, 0])
    torch.testing.assert_close(mixed[:, 0, -1], plain.roll(1, 0)[:, 0, -1])
    torch.testing.assert_close(generator(Z[:1], None), plain[:1])


def test_mixed_w_has_the_own_class(perturbed):
    generator = perturbed(StyleGenerator(MappingNetwork(4, 3, 2, numbers=2), Recorded()))
    generator.mixing = 1.0
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    last = generator(Z, labels)[:, 0, -1]
    torch.testing.assert_close(last, generator.mapping(Z.roll(1, 0), labels))


def test_other_generators_are_refused(generator):
    assert require_style_generator(generator, "it") is generator
    with pytest.raises(InputError, match=r"it needs a generator with a mapping network, and the generator is a Linear"):
        require_style_generator(nn.Linear(1, 1), "it")
