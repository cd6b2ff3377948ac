"""Cross entropy of a discriminator's answer with a target: what several losses are made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    """-(t ln D + (1 - t) ln(1 - D)) with D = sigmoid(logits), image by image.

    Args:
        logits: (B,), of any floating-point type.
        target: t, what D ought to answer, as a probability: one number, or (B,).

    Returns:
        (B,), in float32 at least: in bfloat16 all of D's answers above 0.998 would be the same. Both
        logarithms come from the logits, so a D that is sure of itself has a finite loss and a gradient.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not isinstance(target, Tensor) and target in (0, 1):
        # The other half would be computed, forwards and backwards, to be multiplied by zero.
        return -F.logsigmoid(logits if target else -logits)
    return -(target * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits))
