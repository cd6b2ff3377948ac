"""Networks of one-dimensional residual blocks for sequences of characters."""

import pytest
import torch
from torch.nn import functional as F

from gankit import InputError, Spec
from gankit_plugins.discriminator.character_resnet import CharacterResnetDiscriminator
from gankit_plugins.generator.character_resnet import CharacterResnet, GumbelCharacterResnet

SPEC = Spec(shape=(7, 32), latent_size=128)


def build(plugin_class, spec=SPEC, **settings):
    plugin = plugin_class(plugin_class.Config(**{"width": 512, **settings}))
    return plugin.build_generator(spec) if plugin.kind == "generator" else plugin.build_discriminator(spec)


def shapes(network):
    return [tuple(parameter.shape) for parameter in network.parameters()]


BLOCKS = [(512, 512, 5), (512,)] * 10


@pytest.mark.parametrize("plugin_class", [CharacterResnet, GumbelCharacterResnet])
def test_the_generator_has_the_parameters_of_the_paper(plugin_class):
    with torch.device("meta"):
        network = build(plugin_class)
    assert shapes(network) == [(512 * 32, 128), (512 * 32,), *BLOCKS, (7, 512, 1), (7,)]


def test_the_discriminator_has_the_parameters_of_the_paper():
    with torch.device("meta"):
        network = build(CharacterResnetDiscriminator)
    assert shapes(network) == [(512, 7, 1), (512,), *BLOCKS, (1, 512 * 32), (1,)]


def test_the_networks_compute_what_the_code_of_the_paper_computes():
    spec = Spec(shape=(3, 6), latent_size=4)
    generator, discriminator = (
        build(one, spec, width=2).requires_grad_(False) for one in (CharacterResnet, CharacterResnetDiscriminator)
    )
    z = torch.randn(5, 4)

    def blocks(x, layers):
        for first, first_bias, second, second_bias in zip(*[iter(layers)] * 4, strict=True):
            inner = F.conv1d(F.relu(x), first, first_bias, padding=2)
            x = x + 0.3 * F.conv1d(F.relu(inner), second, second_bias, padding=2)
        return x

    weight, bias, *layers, last, last_bias = generator.parameters()
    logits = F.conv1d(blocks((z @ weight.T + bias).view(5, 2, 6), layers), last, last_bias)
    sequences = generator(z, None)
    torch.testing.assert_close(sequences, logits.softmax(1))
    assert torch.equal(sequences.argmax(1), logits.argmax(1))

    first, first_bias, *layers, head, head_bias = discriminator.parameters()
    expected = blocks(F.conv1d(sequences, first, first_bias), layers).flatten(1) @ head.T + head_bias
    torch.testing.assert_close(discriminator(sequences, None).logits, expected[:, 0])


def test_gumbel_softmax_draws_characters_with_the_probabilities_of_the_softmax():
    spec = Spec(shape=(3, 2), latent_size=4)
    torch.manual_seed(0)
    gumbel = build(GumbelCharacterResnet, spec, width=2, temperature=0.1)
    plain = build(CharacterResnet, spec, width=2)
    plain.load_state_dict(gumbel.state_dict())
    z = torch.randn(1, 4)
    with torch.no_grad():
        gumbel.to_logits.weight.mul_(5), plain.to_logits.weight.mul_(5)
        drawn = gumbel(z.expand(4000, -1), None)
        probability = plain(z, None)[0]
    torch.testing.assert_close(drawn.sum(1), torch.ones(4000, 2))
    frequency = F.one_hot(drawn.argmax(1), 3).double().mean(0).T
    assert (frequency - probability).abs().max() < 4 * 0.5 / 4000**0.5
    assert drawn.amax(1).mean() > 0.9
    assert build(GumbelCharacterResnet, spec, width=2)(z, None).requires_grad


@pytest.mark.parametrize("plugin_class", [CharacterResnet, GumbelCharacterResnet, CharacterResnetDiscriminator])
def test_images_are_refused(plugin_class):
    with pytest.raises(InputError, match="character_resnet needs sequences of the shape"):
        build(plugin_class, Spec(shape=(3, 8, 8)), width=2)
