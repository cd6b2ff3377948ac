"""Networks with a frozen first layer, as in fine-tuning."""

from torch import nn

from gankit import hookimpl
from gankit_plugins.discriminator.igan import IganDiscriminator
from gankit_plugins.generator.igan import Igan
from gankit_plugins.layers.weights import LAYERS

VALUE = 0.05


def first_layer(network):
    return next(module for module in network.modules() if isinstance(module, LAYERS))


def freeze_first_layer(network):
    layer = first_layer(network).requires_grad_(False)
    nn.init.constant_(layer.weight, VALUE)
    return network


class FrozenGenerator(Igan):
    """IGAN's generator with a frozen layer."""

    name = "frozen_generator"

    @hookimpl
    def build_generator(self, spec):
        return freeze_first_layer(super().build_generator(spec))


class FrozenDiscriminator(IganDiscriminator):
    """IGAN's discriminator with a frozen layer."""

    name = "frozen_discriminator"

    @hookimpl
    def build_discriminator(self, spec):
        return freeze_first_layer(super().build_discriminator(spec))
