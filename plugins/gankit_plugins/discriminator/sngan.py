"""SNGAN's residual discriminator (Miyato 2018)."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field
from torch import Tensor, nn

from gankit import DiscriminatorOutput, Plugin, Settings, Spec, hookimpl
from gankit_plugins.layers.residual import WIDEST, down_block, first_block, glorot, sizes_of

SMALLEST = 8
"""Upper limit of the smaller side of the last feature map, in pixels, if all blocks have the same number of channels.

Source: Miyato 2018, table 4.
"""

SMALLEST_DOUBLED = 4
"""Upper limit of the smaller side of the last feature map, in pixels, if the channels double.

Source: Miyato 2018, tables 5 and 6.
"""


class SnganDiscriminatorNetwork(nn.Module):
    """Network of residual blocks, a sum over all positions of the last feature map, and a linear layer to one logit.

    Args:
        spec: specification of the images.
        width: channels of the first feature map.
        double_channels: True to double the channels in each block.
        owner: name of the plugin, for error messages.
        block: function that returns each block after the first. It takes the arguments of `down_block`.
    """

    def __init__(
        self,
        spec: Spec,
        width: int,
        double_channels: bool,
        owner: str = "sngan",
        block: Callable[..., nn.Module] = down_block,
    ) -> None:
        super().__init__()
        halvings = len(sizes_of(spec, owner, SMALLEST_DOUBLED if double_channels else SMALLEST)) - 1
        blocks: list[nn.Module] = [first_block(spec.channels, width)]
        channels = width
        # The last blocks do not halve the size: two blocks in table 4 of the paper, one block in tables 5 and 6.
        for number in range(1, halvings + (1 if double_channels else 2)):
            more = width * min(2**number, WIDEST) if double_channels else width
            blocks.append(block(spec, channels, more, halve=number < halvings))
            channels = more
        self.body = nn.Sequential(*blocks)
        self.head = glorot(nn.Linear(channels, 1))

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        """Return logits (B,) and features (B, F) of images (B, C, H, W). The condition is unused."""
        features = self.body(images).relu().sum((2, 3))
        return DiscriminatorOutput(self.head(features).flatten(), features)


class SnganDiscriminator(Plugin):
    """SNGAN's discriminator: residual blocks with average pooling, and a sum over all positions before the last layer.

    Source: Miyato 2018, appendix B.4. Table 4 describes the network for 32x32 images: two blocks that halve the size,
    then two blocks that keep the size, all with 128 channels. Tables 5 and 6 describe the networks for 48x48 and
    128x128 images (`width` 64 and `double_channels`). Their blocks halve the size and double the channels, from 64 to
    at most 1,024. One block that keeps the size follows. The paper has spectral norm in every layer and no other
    normalisation. If `normalization.discriminator` is another normalisation, it applies before every ReLU in all blocks
    except the first. The initial weights are as in the generator `sngan`.

    Images may have any size of at least 4x4. The blocks halve the height and width, rounded up, until the smaller one
    is at most 8, or at most 4 with `double_channels`.

    When to use: with the generator `sngan`, `normalization.discriminator = "spectral_norm"` and the loss `hinge`. For
    classes, add the trick `projection`.
    When not: for a first quick run; use `dcgan`, which has only one convolution at each size.
    """

    name = "sngan"
    kind = "discriminator"

    class Config(Settings):
        width: int = Field(128, ge=1, description="channels of the first feature map")
        double_channels: bool = Field(
            False, description="double the channels in each block, up to 16 times; else all have the same number"
        )

    config: Config

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return SnganDiscriminatorNetwork(spec, self.config.width, self.config.double_channels)
