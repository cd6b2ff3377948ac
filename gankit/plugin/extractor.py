"""Feature extractors: functions that compute features of images. Metrics are computed from the features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gankit.errors import GankitError, InputError

T = TypeVar("T")

CHUNK = 256
"""Maximum number of images that are passed to an extractor's function in one call."""

MetricProtocol = Mapping[str, str | int | float]
"""Protocol of a metric: facts about how the metric was computed, such as the extractor and the seed, by name.

Two values of a metric are comparable only if their protocols are equal.
"""


class Features(NamedTuple):
    """Output of an extractor for N images."""

    values: Tensor
    """Features, (N, F). An `Extractor` returns features in float32 on the CPU."""

    logits: Tensor | None = None
    """Logits (N, K) for the extractor's K classes.

    None if the extractor has no classes, or if the function `Extractor.logits` computes the logits.
    """


@dataclass(frozen=True)
class Extractor:
    """Feature extractor: a function that computes features of images, and facts that are logged with every metric."""

    facts: MetricProtocol
    """Facts that are logged with every metric, such as the extractor's name and a hash of its weights."""

    function: Callable[[Tensor], Features]
    """Function that computes the features of images (B, C, H, W).

    The images are uint8. Other data, such as 2D points, are floating point in [-1, 1].
    """

    class_names: tuple[str, ...] = ()
    """Names of the extractor's classes if the dataset has the same classes. Otherwise empty."""

    logits: Callable[[Tensor], Tensor] | None = None
    """Optional function that computes logits (B, K) of images (B, C, H, W). It is called only if a metric needs logits.

    None if `function` already returns the logits, or if the extractor has no classes.
    """

    @property
    def name(self) -> str:
        """Name of the extractor in error messages."""
        return str(self.facts.get("extractor", "extractor"))

    def __call__(self, images: Tensor) -> Features:
        """Return the features of images (N, C, H, W), and the logits if `self.function` returns logits.

        Raises:
            InputError: the extractor's function raises an error for these images, or returns an invalid value.
            GankitError: a feature is NaN or infinite, or a logit is NaN.
        """
        chunks = images.split(CHUNK)
        parts = [self._features(chunk) for chunk in chunks]
        pairs = list(zip(parts, map(len, chunks), strict=True))
        values = torch.cat([self._checked(part.values, rows, "features", "F") for part, rows in pairs])
        logits = [self._checked(part.logits, rows, "logits", "K") for part, rows in pairs if part.logits is not None]
        if not values.isfinite().all():
            count = int((~values.isfinite()).any(1).sum())
            raise GankitError(f"{self.name}: features of {count} of {len(values)} images are NaN or infinite")
        return Features(values, self._without_nan(torch.cat(logits)) if logits else None)

    def logits_of(self, images: Tensor, features: Features) -> Tensor | None:
        """Return the logits (N, K) of the images, or None if the extractor has no classes.

        If `features` has no logits, the function `logits` computes them from the images.
        """
        if features.logits is not None or self.logits is None:
            return features.logits
        chunks = [self._checked(self._apply(self.logits, c), len(c), "logits", "K") for c in images.split(CHUNK)]
        return self._without_nan(torch.cat(chunks))

    def _features(self, images: Tensor) -> Features:
        output: Any = self._apply(self.function, images)
        if not isinstance(output, Features):
            raise InputError(f"{self.name} returns a {type(output).__name__}; it must return gankit.Features")
        return output

    def _apply(self, function: Callable[[Tensor], T], images: Tensor) -> T:
        try:
            return function(images)
        except GankitError:
            raise
        except Exception as error:  # a user's network may raise errors of any type
            shape = "x".join(map(str, images.shape[1:]))
            raise InputError(f"{self.name} does not accept images of shape {shape}: {_reason(error)}") from error

    def _checked(self, output: Any, rows: int, name: str, width: str) -> Tensor:
        """Check that an extractor returns a 2-dimensional tensor with `rows` rows. Convert it to float32 on the CPU."""
        if not isinstance(output, Tensor) or output.dim() != 2:
            what = f"of shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"as {type(output).__name__}"
            raise InputError(f"{self.name} returns {name} {what}; it must return a tensor (images, {width})")
        if len(output) != rows:
            raise InputError(f"{self.name} returns {name} of {len(output)} images for {rows} images")
        return output.float().cpu()

    def _without_nan(self, logits: Tensor) -> Tensor:
        # An infinite logit is valid, because it corresponds to a probability of 0 or 1. Only NaN is an error.
        if logits.isnan().any():
            raise GankitError(f"{self.name}: logits of {int(logits.isnan().any(1).sum())} images are NaN")
        return logits


def _reason(error: Exception) -> str:
    """Return the line of an error message that states the cause.

    A TorchScript error states the cause in the last line. Any other error states the cause in the first line.
    """
    lines = [line.removeprefix("RuntimeError: ") for line in str(error).strip().splitlines()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "TorchScript" in lines[0] else lines[0]


def to_rgb(images: Tensor) -> Tensor:
    """Return uint8 images as RGB images (B, 3, H, W). The channel of grey images (B, 1, H, W) is repeated.

    Raises:
        InputError: `images` is a floating-point tensor. gankit stores images as uint8.
    """
    if images.is_floating_point():
        raise InputError("extractor: it needs uint8 images, which the data are not; choose another extractor")
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def network_extractor(
    network: Callable[[Tensor], Any],
    device: torch.device,
    name: str,
    size: int | None = None,
    class_names: tuple[str, ...] = (),
) -> Extractor:
    """Return an extractor that computes features with a network.

    The network takes RGB images (B, 3, H, W) in [-1, 1]. The network returns features (B, F, ...), or a tuple of
    features and logits (B, K).

    Args:
        network: the network, in evaluation mode on `device`.
        device: device of the network.
        name: name of the extractor, followed by a hash of the weights. The name is logged with every metric.
        size: height and width in pixels to which images are resized (bilinear, antialiased). If None, images keep
            their size.
        class_names: names of the dataset's classes, if the logits are for these classes. If the names are given and the
            network returns only one tensor, this tensor is used both as features and as logits.
    """

    def extract(images: Tensor) -> Features:
        inputs = to_rgb(images.to(device)).float() / 127.5 - 1
        if size is not None and inputs.shape[-2:] != (size, size):
            inputs = interpolate(inputs, (size, size), mode="bilinear", antialias=True)
        with torch.no_grad():
            output = network(inputs)
        values, logits = output if isinstance(output, tuple) and len(output) == 2 else (output, None)
        if not isinstance(values, Tensor):
            raise InputError(
                f"{name} returns a {type(output).__name__}; it must return features, or features and logits"
            )
        if not class_names:
            return Features(values.flatten(1), logits)
        class_logits = values if logits is None else logits
        K = len(class_names)
        if class_logits.shape[1:] != (K,):
            raise InputError(
                f"{name} returns logits of shape {tuple(class_logits.shape)}, and the dataset has {K} classes"
            )
        return Features(values.flatten(1), class_logits)

    return Extractor({"extractor": name, "resize": f"bilinear to {size}" if size else "none"}, extract, class_names)
