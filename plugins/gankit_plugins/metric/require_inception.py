"""Check of the feature extractor, for metrics that are defined only for Inception features."""

from __future__ import annotations

from gankit import Comparison, InputError


def require_inception(comparison: Comparison, metric: str, general: str) -> None:
    """Raise an InputError unless the feature extractor is Inception.

    Args:
        comparison: real and generated images to compare, with their extractor.
        metric: name of the metric, for the error message.
        general: name of a similar metric for any extractor, which the error message recommends.
    """
    extractor = comparison.extractor.name
    if extractor.partition(" ")[0] != "inception":
        raise InputError(
            f'{metric} is defined for the extractor "inception", but the extractor is {extractor}; set '
            f'extractor.use = "inception", or use the metric {general}'
        )
