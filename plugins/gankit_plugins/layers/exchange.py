"""Exchange of real and fake images in a training step. Some losses of G equal D's loss after this exchange."""

from __future__ import annotations

from gankit import Step


def exchange_sides(step: Step) -> Step:
    """Return a copy of a step with real and fake images exchanged. D's loss on this copy is a loss for G."""
    return step.with_outputs(
        step.fake_output,
        step.real_output,
        real_target=step.generator_target,
        fake_target=1 - step.generator_target,
        real_weight=step.fake_weight,
        fake_weight=step.real_weight,
    )
