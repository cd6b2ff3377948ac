"""Style mixing: in training, the first and the last layers of the generator use different style vectors w."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Player, Plugin, Settings, hookimpl
from gankit_plugins.layers.style_generator import require_style_generator


class StyleMixing(Plugin):
    """Images from two style vectors in training: one w before a random layer, and another w from this layer on.

    Source: Karras 2018, section 3.1, with the probability 0.9 of the final networks. The network then cannot rely on
    equal styles in neighbouring layers. The style of a layer therefore controls only details at the layer's resolution.
    The second w is computed from the z of another image of the batch, and from the class of the image itself. A batch
    of one image is not mixed. Samples and metrics use one w for each image.

    When to use: with a generator that has a mapping network, such as `stylegan2`, if the styles of two images will be
    combined, as in `gankit stylegrid`.
    When not: on small or varied images, such as CIFAR-10, where Karras 2020 (appendix D) does not use style mixing.
    """

    name = "style_mixing"

    class Config(Settings):
        probability: float = Field(0.9, gt=0, le=1, description="probability that an image has two w")

    config: Config

    @hookimpl
    def wrap_network(self, player: Player, network: nn.Module) -> nn.Module:
        if player == "generator":
            require_style_generator(network, self.name).mixing = self.config.probability
        return network
