"""Function that exchanges real and fake images in a step. Some losses of G are D's loss after this exchange."""

from __future__ import annotations

from gankit import Step


def exchange_sides(step: Step) -> Step:
    """Return a copy of the step with the roles of real and fake images exchanged. D's loss of this copy is G's loss."""
    return step.with_outputs(
        step.fake_output,
        step.real_output,
        real_target=step.generator_target,
        fake_target=1 - step.generator_target,
        real_weight=step.fake_weight,
        fake_weight=step.real_weight,
    )
