"""Anybody's network as an extractor of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit.errors import GankitError, InputError

T = TypeVar("T")


def to_rgb(images: Tensor) -> Tensor:
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
        shown = to_rgb(images.to(device)).float() / 127.5 - 1
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


CHUNK = 256
"""Images that an extractor sees at once."""


MetricProtocol = Mapping[str, str | int | float]
"""How numbers came about, fact by fact. Numbers compare only where their protocols are equal."""


class Features(NamedTuple):
    """What an extractor makes of N images."""

    values: Tensor
    """(N, F) float32 on the CPU."""

    logits: Tensor | None = None
    """(N, K) of the extractor's own classes; None when it knows none."""


@dataclass(frozen=True)
class Extractor:
    """Images to features."""

    facts: MetricProtocol
    """What goes on record beside every number: the extractor with a hash of its weights, and how images are resized."""

    function: Callable[[Tensor], Features]
    """Takes (B, C, R, R) images, uint8 or, where the data are no pictures, floating point in [-1, 1]."""

    class_names: tuple[str, ...] = ()
    """Of the logits, where these are the classes of the dataset."""

    logits: Callable[[Tensor], Tensor] | None = None
    """Images to (B, K) logits, where these cost a look of their own: it is taken when a measure asks for them."""

    @property
    def name(self) -> str:
        return str(self.facts.get("extractor", "extractor"))

    def __call__(self, images: Tensor) -> Features:
        """Features of all images, which are looked at in chunks.

        Raises:
            InputError: the extractor cannot look at such images, or makes something else of them than features.
            GankitError: a feature is no finite number.
        """
        parts = [self._features(chunk) for chunk in images.split(CHUNK)]
        values = torch.cat([self._checked(part.values, "features", "F") for part in parts])
        logits = [self._checked(part.logits, "logits", "K") for part in parts if part.logits is not None]
        if not values.isfinite().all():
            bad = int((~values.isfinite()).any(1).sum())
            raise GankitError(f"{self.name}: features of {bad} of {len(values)} images are no finite numbers")
        return Features(values, self._known(torch.cat(logits)) if logits else None)

    def logits_of(self, images: Tensor, features: Features) -> Tensor | None:
        """(N, K): those that came with the features, or by a look of their own; None for an extractor without any.

        Raises as a call does.
        """
        if features.logits is not None or self.logits is None:
            return features.logits
        chunks = images.split(CHUNK)
        return self._known(torch.cat([self._checked(self._look(self.logits, c), "logits", "K") for c in chunks]))

    def _features(self, images: Tensor) -> Features:
        found: Any = self._look(self.function, images)
        if not isinstance(found, Features):
            raise InputError(f"{self.name} gives a {type(found).__name__}; gankit.Features are wanted")
        return found

    def _look(self, function: Callable[[Tensor], T], images: Tensor) -> T:
        try:
            return function(images)
        except GankitError:
            raise
        except Exception as error:  # a stranger's network may raise anything
            shape = "x".join(map(str, images.shape[1:]))
            raise InputError(f"{self.name} cannot look at images of {shape}: {_reason(error)}") from error

    def _checked(self, found: Any, what: str, width: str) -> Tensor:
        """What a look has given, on the CPU, one row for each image."""
        if not isinstance(found, Tensor) or found.dim() != 2:
            given = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"as {type(found).__name__}"
            raise InputError(f"{self.name} gives {what} {given}; a tensor (images, {width}) is wanted")
        return found.float().cpu()

    def _known(self, logits: Tensor) -> Tensor:
        # An infinite logit is a certain answer; one that is no number is none.
        if logits.isnan().any():
            raise GankitError(f"{self.name}: logits of {int(logits.isnan().any(1).sum())} images are no numbers")
        return logits


def _reason(error: Exception) -> str:
    """An error in a line. TorchScript tells its own story first, and what went wrong last."""
    lines = [line.removeprefix("RuntimeError: ") for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "TorchScript" in lines[0] else lines[0]
