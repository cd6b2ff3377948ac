"""Anybody's network as an extractor of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit.errors import InputError
from gankit.evaluation.comparison import Extractor, Features


def in_colour(images: Tensor) -> Tensor:
    """(B, C, R, R) uint8 pictures in three channels: grey ones three times over, others as they are.

    Raises InputError for points.
    """
    if images.is_floating_point():
        raise InputError("extractor: it looks at pictures, and these are points; take one for points")
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def network_extractor(
    network: Callable[[Tensor], Any],
    device: torch.device,
    name: str,
    size: int | None = None,
    class_names: tuple[str, ...] = (),
) -> Extractor:
    """An extractor out of a network that takes (B, 3, R, R) pictures in [-1, 1], grey ones three times over, and
    returns (B, F, ...) features, or a pair of features and (B, K) logits.

    Args:
        network: in evaluation mode, on the device.
        device: where it computes.
        name: for the protocol, with a hash of its weights.
        size: pixels to which pictures are resized, bilinearly with antialiasing; None: they stay as they are.
        class_names: of the dataset, where the logits are of these; a single output then is features and logits.
    """

    def look(images: Tensor) -> Features:
        shown = in_colour(images.to(device)).float() / 127.5 - 1
        if size is not None and shown.shape[-1] != size:
            shown = interpolate(shown, size, mode="bilinear", antialias=True)
        with torch.no_grad():
            answer = network(shown)
        values, logits = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        if not isinstance(values, Tensor):
            raise InputError(f"{name} returns a {type(answer).__name__}; features, or features and logits, are wanted")
        if not class_names:
            return Features(values.flatten(1), logits)
        of_classes = values if logits is None else logits
        K = len(class_names)
        if of_classes.shape[1:] != (K,):
            raise InputError(f"{name} gives logits of shape {tuple(of_classes.shape)}, and the dataset has {K} classes")
        return Features(values.flatten(1), of_classes)

    return Extractor({"extractor": name, "resize": f"bilinear to {size}" if size else "none"}, look, class_names)
