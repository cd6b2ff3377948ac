"""Skip-layer excitation: a small feature map scales the channels of a larger one (Liu 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit_plugins.layers.dcgan import SLOPE, initialized

SIDE = 4
"""Height and width of the small feature map after pooling, in pixels (Liu 2021, section 3.1)."""


def pooled(x: Tensor) -> Tensor:
    """Pool x, (B, C, H, W), to (B, C, 4, 4) with adaptive average pooling.

    The means are computed by two matrix products, because the gradient of PyTorch's pooling layer is not deterministic
    on a GPU.
    """
    identities = (torch.diag(torch.ones(side, dtype=x.dtype, device=x.device)) for side in x.shape[2:])
    rows, columns = (F.adaptive_avg_pool2d(one[None, None], (len(one), SIDE))[0, 0] for one in identities)
    return rows.transpose(0, 1) @ x @ columns


class SkipLayerExcitation(nn.Module):
    """Skip-layer excitation `y = F(x_low) x_high`, with one factor for each channel of x_high (Liu 2021, equation 1).

    F consists of pooling to 4x4, a 4x4 convolution, LeakyReLU, a 1x1 convolution and a sigmoid. x_low is computed
    several layers before x_high, so the product is a short path for gradients.

    Args:
        low: number of channels of x_low.
        high: number of channels of x_high.
    """

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        first, last = initialized(nn.Conv2d(low, high, SIDE)), initialized(nn.Conv2d(high, high, 1))
        self.factors = nn.Sequential(first, nn.LeakyReLU(SLOPE), last, nn.Sigmoid())

    def forward(self, x_low: Tensor, x_high: Tensor) -> Tensor:
        """Return `F(x_low) x_high`, with the shape and the data type of x_high, (B, C, H, W).

        The shape of x_low is (B, C', H', W').
        """
        return x_high * self.factors(pooled(x_low)).to(x_high.dtype)
