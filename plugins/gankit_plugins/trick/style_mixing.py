"""Style mixing: images of the training whose first layers have another w than their last ones."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from gankit import Player, Plugin, Settings, hookimpl
from gankit_plugins.layers.style_generator import require_style_generator


class StyleMixing(Plugin):
    """Images from two w in training: one for the layers up to a random one, and another for the layers after it.

    Source: Karras 2018, section 3.1, with the probability 0.9 of the final networks. The network then cannot rely on
    equal styles in neighbouring layers, so a style controls its own sizes only. The second w is from the z of another
    image of the batch and the image's own class. A single image is not mixed. Samples and metrics have one w for each
    image.

    When to use: with a generator that has a mapping network, such as `stylegan2`, if the styles of two images will be
    combined, as in `gankit stylegrid`.
    When not: on small or varied images, such as CIFAR-10, where Karras 2020 (appendix D) leaves it out.
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
