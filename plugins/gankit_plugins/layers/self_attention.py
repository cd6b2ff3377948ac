"""Self-attention between the positions of a feature map (Zhang 2019)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

REDUCTION = 8
"""Ratio k of the numbers of channels: input to keys f, queries g or values h (Zhang 2019, section 3)."""


def attention(f: Tensor, g: Tensor, h: Tensor) -> Tensor:
    """Return the output of attention for each position (Zhang 2019, equations 1 and 2, without the layer v).

    s_ij = f_i . g_j, beta_ji = exp(s_ij) / sum_i exp(s_ij), and o_j = sum_i beta_ji h_i.

    Args:
        f: keys, (B, K, N), for N positions.
        g: queries, (B, K, N).
        h: values, (B, C, N).

    Returns:
        o, (B, C, N). The softmax is computed in float32 or a wider type.
    """
    # `scaled_dot_product_attention` needs less memory, but PyTorch cannot differentiate its fast versions twice. A
    # gradient penalty of D needs second derivatives. `s` is the transpose of the paper's matrix, because softmax is
    # faster over the last dimension.
    s = g.transpose(1, 2) @ f
    beta = s.to(torch.promote_types(s.dtype, torch.float32)).softmax(dim=2)
    return h @ beta.to(h.dtype).transpose(1, 2)


class SelfAttention(nn.Module):
    """Layer `y = x + gamma v(o)` (Zhang 2019, equation 3), where o is the attention of f(x), g(x) and h(x).

    f, g, h and v are 1x1 convolutions. The initial gamma is 0, so the layer is initially the identity.

    Args:
        channels: C, number of channels of x. f, g and h have C / 8 channels, but at least 1.
        normalize: function that takes a layer and its number of output channels, normalises the layer's weight, and
            returns the layer.
    """

    def __init__(self, channels: int, normalize: Callable[[nn.Module, int], nn.Module]) -> None:
        super().__init__()
        fewer = max(1, channels // REDUCTION)
        self.f, self.g, self.h = (normalize(weight_matrix(channels, fewer), fewer) for _ in range(3))
        self.v = normalize(weight_matrix(fewer, channels), channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x + gamma * v(o)`, with the shape and the data type of x, (B, C, H, W).

        `o` is the output of the attention, `v` is a 1x1 convolution, and `gamma` is a learned scalar.
        """
        o = attention(*(layer(x).flatten(2) for layer in (self.f, self.g, self.h)))
        return x + (self.gamma * self.v(o.unflatten(2, x.shape[2:]))).to(x.dtype)


def weight_matrix(before: int, after: int) -> nn.Conv2d:
    """Return a 1x1 convolution without biases, with initial weights from Glorot's uniform distribution."""
    layer = nn.Conv2d(before, after, 1, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer
