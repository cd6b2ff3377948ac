"""Binary cross entropy of logits with a target, shared by several losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    """Return -(t ln D + (1 - t) ln(1 - D)) with D = sigmoid(logits), for each image.

    Args:
        logits: (B,), of any floating-point type.
        target: t, a probability: one number, or (B,).

    Returns:
        (B,), in float32 or a wider type.
    """
    # All bfloat16 probabilities above 0.998 are equal. Logarithms of logits, instead of the logarithm of a sigmoid,
    # keep the loss and its gradient finite for large logits.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not isinstance(target, Tensor) and target in (0, 1):
        # The other half would be multiplied by zero.
        return -F.logsigmoid(logits if target else -logits)
    return -(target * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits))
