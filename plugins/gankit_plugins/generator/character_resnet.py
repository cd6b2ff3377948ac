"""Generators of sequences of characters: one-dimensional residual blocks, and a softmax or Gumbel-softmax output."""

from __future__ import annotations

from functools import partial

from pydantic import Field
from torch import Tensor, nn

from gankit import Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.character_resnet import CharacterGeneratorNetwork
from gankit_plugins.layers.gumbel_softmax import gumbel_softmax


class CharacterResnet(Plugin):
    """Generator of texts with one-dimensional residual blocks and a softmax over the characters.

    Source: Gulrajani 2017, "Modeling discrete data with a continuous generator". A linear layer maps z to a sequence of
    `width` channels. Five residual blocks and a convolution of size 1 follow. The softmax of its output is a
    probability for each character at each place. The critic gets these probabilities. The sizes and the factor 0.3 of
    the residual branches are those of the authors' code, where `width` is 512.

    When to use: for texts from the data plugins `lines` and `equations`, with the loss `wasserstein` and the trick
    `gradient_penalty`.
    When not: for images and audio.
    """

    name = "character_resnet"
    kind = "generator"

    class Config(Settings):
        width: int = Field(512, ge=1, description="channels of all residual blocks")

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return CharacterGeneratorNetwork(spec, self.config.width, self.name, partial(Tensor.softmax, dim=-1))


class GumbelCharacterResnet(Plugin):
    """Generator of texts with one-dimensional residual blocks and a Gumbel-softmax over the characters.

    Source: Kusner 2016; network of Gulrajani 2017, as in `character_resnet`. The output is an almost one-hot vector,
    whose character is drawn at random. The gradient passes through the Gumbel-softmax. At a lower temperature, vectors
    are closer to one-hot vectors, and gradients have more variance.

    When to use: for texts, if the critic separates real and generated texts by the softness of the vectors alone, or
    with losses other than the Wasserstein loss.
    When not: if each z must always give the same text. Here the characters also depend on the Gumbel noise.
    """

    name = "gumbel_character_resnet"
    kind = "generator"

    class Config(Settings):
        width: int = Field(512, ge=1, description="channels of all residual blocks")
        temperature: float = Field(
            0.75, gt=0, description="temperature of the Gumbel-softmax; lower is closer to one-hot"
        )

    config: Config

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        output = partial(gumbel_softmax, temperature=self.config.temperature)
        return CharacterGeneratorNetwork(spec, self.config.width, self.name, output)
