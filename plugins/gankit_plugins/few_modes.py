"""What is said at the end of a run that covers few of the data's modes, so that nobody takes it for a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gankit import Game


def advise_on_few(run: Game, covered: float, there: int) -> None:
    """Says so where the newest generated images are of fewer than half of the modes.

    Args:
        run: that is over.
        covered: the measure `modes`.
        there: how many could have been covered.
    """
    if covered < there / 2:
        run.advise(
            f"modes is {covered:g}: the samples cover fewer than half of the {there} modes. G has collapsed to few of "
            "them, or has not learnt yet. Against collapse help packing, minibatch_discrimination and "
            "unrolled_discriminator"
        )
