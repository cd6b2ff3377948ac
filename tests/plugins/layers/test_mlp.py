"""Both fully connected networks: their sizes, what may be normalised in them, a run."""

import pytest
import torch

from gankit import Spec
from gankit_plugins.discriminator.mlp import MlpDiscriminator
from gankit_plugins.generator.mlp import MlpGenerator


@pytest.mark.parametrize(("channels", "resolution"), [(1, 28), (3, 5), (2, 1)])
def test_any_size_and_number_of_channels(channels, resolution):
    spec = Spec(channels=channels, resolution=resolution, latent_size=7)
    G = MlpGenerator(MlpGenerator.Config(hidden=[6, 5])).build_generator(spec=spec)
    D = MlpDiscriminator(MlpDiscriminator.Config(hidden=[6, 5])).build_discriminator(spec=spec)
    images = G(torch.randn(4, 7), None)
    assert images.shape == (4, channels, resolution, resolution)
    assert images.abs().max() <= 1
    logits, features = D(images, None)
    assert (logits.shape, features.shape) == ((4,), (4, 5))
    torch.testing.assert_close(logits, D.head(features).flatten())


def test_every_hidden_layer_may_be_normalised_and_no_other():
    seen = []
    spec = Spec(channels=1, resolution=4, latent_size=7)
    spec.normalize = lambda player, layer, features: seen.append((player, layer.out_features, features)) or layer
    MlpGenerator(MlpGenerator.Config(hidden=[6, 5])).build_generator(spec=spec)
    MlpDiscriminator(MlpDiscriminator.Config(hidden=[3])).build_discriminator(spec=spec)
    assert seen == [("generator", 6, 6), ("generator", 5, 5), ("discriminator", 3, 3)]
