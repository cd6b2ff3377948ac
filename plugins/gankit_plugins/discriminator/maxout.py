"""The first GAN's discriminator (Goodfellow 2014)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.maxout import maxout_layer, to_unit_interval

Units = Annotated[int, Field(ge=1)]


class MaxoutJudge(nn.Module):
    """All numbers of an image at once, through maxout layers with dropout, to one answer.

    Args:
        spec: image sizes.
        units: of the hidden layers.
        pieces: of which a unit is the largest.
        input_dropout: share of the image's numbers that is dropped in training.
        dropout: share of every hidden layer's units that is dropped in training.
    """

    def __init__(self, spec: Spec, units: list[int], pieces: int, input_dropout: float, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(input_dropout)]
        before = spec.channels * spec.resolution**2
        for count in units:
            layers += [maxout_layer(spec, before, count, pieces), nn.Dropout(dropout)]
            before = count
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(before, 1)

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """(B, C, R, R) to logits (B,) and features (B, last units); labels are not looked at."""
        features = self.hidden(to_unit_interval(images))
        return DiscriminatorOutput(self.head(features).flatten(), features)


class MaxoutDiscriminator(Plugin):
    """The first GAN's discriminator: fully connected maxout layers with dropout.

    Source: Goodfellow 2014, section 5, which names maxout and dropout in D; the sizes are those of the authors' code
    for MNIST: two layers of 240 units, each the largest of 5 pieces, 0.2 of the image and 0.5 of the units dropped.
    As in the paper it sees images in [0, 1]. Every hidden layer is normalised as `normalization.discriminator` says,
    before the largest is taken. Weights begin as torch draws them; the code draws them from [-0.005, 0.005].

    When to use: beside `mlp`, to see what the first GAN did.
    When not: images of more than some dozens of pixels; `dcgan` knows that neighbours belong together.
    """

    name = "maxout"
    kind = "discriminator"

    class Config(Settings):
        units: list[Units] = Field([240, 240], min_length=1, description="of the hidden layers")
        pieces: int = Field(5, ge=1, description="of which a unit is the largest")
        input_dropout: float = Field(0.2, ge=0, lt=1, description="share of the image that is dropped in training")
        dropout: float = Field(0.5, ge=0, lt=1, description="share of the hidden units that is dropped in training")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        c = self.config
        return MaxoutJudge(spec, c.units, c.pieces, c.input_dropout, c.dropout)
