"""Network that computes the features of the bundled extractor."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

FEATURES = 128

Normalization = Callable[[int], nn.Module]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection (He 2015, figure 3).

    If the number of channels or the size of the feature maps changes, the skip connection is a 1x1 convolution.
    """

    def __init__(self, before: int, after: int, stride: int, normalization: Normalization) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), normalization(after))
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, 1, 1), normalization(after))
        same = stride == 1 and before == after
        self.skip = nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, stride), normalization(after))

    def forward(self, maps: Tensor) -> Tensor:
        return relu(self.second(relu(self.first(maps))) + self.skip(maps))


class FeatureNetwork(nn.Module):
    """Residual classifier with 128 features, the averages of its last feature maps, and K logits.

    Args:
        channels: channels of an image.
        classes: K, the number of classes.
        normalization: function that builds the normalisation layer after a convolution with C output channels. A
            network that is only evaluated has no such layers, because `benchmarks/feature_networks.py` has merged them
            into the convolutions.
    """

    def __init__(self, channels: int, classes: int, normalization: Normalization = lambda _: nn.Identity()) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 32, 3, 1, 1), normalization(32), nn.ReLU())
        widths = [(32, 32, 1), (32, 64, 2), (64, 64, 1), (64, FEATURES, 2), (FEATURES, FEATURES, 1)]
        self.blocks = nn.Sequential(*(ResidualBlock(*width, normalization) for width in widths))
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, 128) and logits (B, K) of images (B, C, H, W) in [-1, 1]."""
        features = self.blocks(self.stem(images)).mean((2, 3))
        return features, self.head(features)
