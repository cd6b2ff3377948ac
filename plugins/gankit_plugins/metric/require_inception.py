"""Check for metrics that are defined for the features of Inception."""

from __future__ import annotations

from gankit import Comparison, InputError


def require_inception(comparison: Comparison, metric: str, general: str) -> None:
    """Raise `InputError` unless the extractor is Inception. The metric `general` is the same for any extractor."""
    extractor = comparison.extractor.name
    if extractor.partition(" ")[0] != "inception":
        raise InputError(
            f'{metric} is defined for the extractor "inception", but the extractor is {extractor}; set '
            f'extractor.use = "inception", or use the metric {general}'
        )
