"""Binary cross entropy of logits with a target. Several losses use this function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor | float) -> Tensor:
    """Return the cross entropy of each logit, (B, ...): -(t ln D + (1 - t) ln(1 - D)) with D = sigmoid(logits).

    The target t is a probability: one number, or a tensor that broadcasts over the logits. The result is in float32 or
    a wider type.
    """
    # Use float32, because bfloat16 rounds all probabilities above 0.998 to 1. Use `logsigmoid`, because the logarithm
    # of a sigmoid may be infinite for logits far from 0.
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if not isinstance(target, Tensor) and target in (0, 1):
        # For the targets 0 and 1, one of the two logarithms has the factor 0, so do not compute it.
        return -F.logsigmoid(logits if target else -logits)
    return -(target * F.logsigmoid(logits) + (1 - target) * F.logsigmoid(-logits))
