"""DCGAN's discriminators: an image to one answer by strided convolutions (Radford 2015)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.conditioning import refuse_unlabelled, with_planes
from gankit_plugins.layers.dcgan import SLOPE, channels_at, drawn, halving, sides


class DcganJudge(nn.Module):
    """An image, with planes that say its class where there are some, halved to a small map and one answer.

    Args:
        spec: image sizes.
        width: channels of the first map.
        classes: N that it is told of; 0 for none.
    """

    def __init__(self, spec: Spec, width: int, classes: int = 0) -> None:
        super().__init__()
        self.classes = classes
        sizes = sides(spec.resolution)
        channels = width
        layers = [nn.Sequential(halving(spec.channels + classes, width), nn.LeakyReLU(SLOPE))]
        for level in range(2, len(sizes)):
            more = channels_at(level, width)
            layer = spec.normalize("discriminator", halving(channels, more), more)
            layers.append(nn.Sequential(layer, nn.LeakyReLU(SLOPE)))
            channels = more
        self.body = nn.Sequential(*layers)
        self.head = drawn(nn.Linear(channels * sizes[-1] ** 2, 1))

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        """(B, C, R, R) and (B,) to logits (B,) and features (B, F); without classes labels are not looked at."""
        if self.classes:
            assert labels is not None, "a discriminator with classes is told the classes"
            images = with_planes(images, labels, self.classes)
        features = self.body(images).flatten(1)
        return DiscriminatorOutput(self.head(features).flatten(), features)


class DcganDiscriminator(Plugin):
    """DCGAN's discriminator: strided convolutions, no pooling, one linear layer at the end.

    Source: Radford 2015, sections 3 and 4: the generator's sizes backwards, LeakyReLU 0.2, kernel 5, stride 2. Every
    convolution but the first is normalised as `normalization.discriminator` says (the paper: batch norm). The last map
    is flattened and led to one answer. Weights begin as N(0, 0.02^2). The paper shows no figure of it; `width` 128 is
    the authors' code's for faces. For any square size from 4 up, like the generator.

    When to use: beside `dcgan`; with `none`, `layer_norm` or `spectral_norm` for losses that bound its slope.
    When not: with classes that G is asked for: `conditional_dcgan`.
    """

    name = "dcgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the first map")

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return DcganJudge(spec, self.config.width)


class ConditionalDcganDiscriminator(Plugin):
    """DCGAN's discriminator, which judges whether an image is a real one of the class that it is said to be.

    Source: Mirza 2014, section 3.2, on the network of Radford 2015. The class joins the image's channels as one plane
    for each class, all 1 for its own and all 0 for the others. (Radford's code for MNIST adds them to every further
    layer as well.)

    When to use: beside the generator of the same name.
    When not: images without labels, or a generator that is asked for no class: `dcgan`.
    """

    name = "conditional_dcgan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the first map")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        refuse_unlabelled(spec, self.name, "dcgan")

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return DcganJudge(spec, self.config.width, spec.classes)
