"""Linear layers and convolutions with an equalised learning rate (Karras 2017, section 4.1)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class EqualisedLinear(nn.Linear):
    """Linear layer `y = c W x + rate b` with the constant `c = rate * gain / sqrt(inputs)`.

    The initial weights W are drawn from N(0, 1 / rate^2). The product c W therefore has the initial
    standard deviation gain / sqrt(inputs), as in He's initialisation. Adam's steps do not depend on the scale of the
    gradient. W therefore changes at the same relative speed in all layers with rate 1. In other layers, this speed is
    multiplied by `rate`.

    Source: Karras 2017, section 4.1, without a rate; Karras 2018, appendix C, with the rate 0.01 for the mapping
    network.

    Args:
        inputs: number of input features.
        outputs: number of output features.
        gain: factor in the constant c; sqrt(2) compensates for a ReLU after the layer.
        rate: factor of the learning rate, lambda in Karras 2018.
        bias: initial value of rate * b, or None for a layer without biases.
    """

    def __init__(
        self, inputs: int, outputs: int, gain: float = 1.0, rate: float = 1.0, bias: float | None = 0.0
    ) -> None:
        super().__init__(inputs, outputs, bias=bias is not None)
        self.rate = rate
        self.scale = rate * gain / math.sqrt(inputs)
        nn.init.normal_(self.weight, 0.0, 1 / rate)
        if bias is not None:
            nn.init.constant_(self.bias, bias / rate)

    def forward(self, input: Tensor) -> Tensor:
        """Return `y = c W x + rate b`, (..., outputs), for the input x, (..., inputs)."""
        return F.linear(input, self.scale * self.weight, self._bias())

    def _bias(self) -> Tensor | None:
        if self.bias is None or self.rate == 1:
            return self.bias
        return self.rate * self.bias


class EqualisedConv2d(nn.Conv2d):
    """Convolution `y = c W * x + b` with the constant `c = gain / sqrt(before * kernel^2)`.

    The initial weights W are drawn from N(0, 1). With an odd kernel, stride 1 and the default padding, the output has
    the size of the input.

    Source: Karras 2017, section 4.1.

    Args:
        before: number of input channels.
        after: number of output channels.
        kernel: side of the kernel, in pixels.
        gain: factor in the constant c; sqrt(2) compensates for a ReLU after the layer.
        bias: True to add biases, which are initially 0.
        padding: number of zeros on each side of the input; kernel // 2 if None.
        stride: step between two positions of the kernel, in pixels.
    """

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int,
        gain: float = 1.0,
        bias: bool = True,
        padding: int | None = None,
        stride: int = 1,
    ) -> None:
        padding = kernel // 2 if padding is None else padding
        super().__init__(before, after, kernel, stride, padding, bias=bias)
        self.scale = gain / math.sqrt(before * kernel**2)
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Apply the convolution to feature maps x, (B, before, H, W). The result has the shape (B, after, H', W')."""
        return self._conv_forward(input, self.scaled_weight(), self.bias)

    def scaled_weight(self) -> Tensor:
        """Return the scaled weight c W, (after, before, kernel, kernel)."""
        return self.scale * self.weight
