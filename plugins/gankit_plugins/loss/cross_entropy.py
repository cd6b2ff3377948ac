"""Binary cross entropy of logits with a target, shared by several losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    """Return -(t ln D + (1 - t) ln(1 - D)) with D = sigmoid(logits), (B,), in float32 or a wider type.

    The target t is a probability: one number, or (B,).
    """
    # All bfloat16 probabilities above 0.998 are rounded to 1. `logsigmoid` is finite for large logits, where the
    # logarithm of a sigmoid is not.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not isinstance(target, Tensor) and target in (0, 1):
        # The factor of the other logarithm is 0.
        return -F.logsigmoid(logits if target else -logits)
    return -(target * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits))
