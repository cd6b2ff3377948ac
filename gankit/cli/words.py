"""Facts of a run, as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from gankit.game import Game

NAMES_SHOWN = 10


def images_in_words(game: Game) -> str:
    """`1x28x28, 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9`."""
    data = game.dataset
    shape = f"{data.channels}x{data.resolution}x{data.resolution}"
    names = data.class_names
    if not names:
        return f"{shape}, no classes"
    more = ", ..." if len(names) > NAMES_SHOWN else ""
    return f"{shape}, {counted(len(names), 'class', 'classes')}: {', '.join(names[:NAMES_SHOWN])}{more}"


def parameters_in_words(network: nn.Module) -> str:
    """`1,234,567 parameters`."""
    return counted(sum(p.numel() for p in network.parameters()), "parameter")


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """`42 s`, `4 min 12 s`, `2 h 5 min`, `3 d 4 h`: two units are enough to plan with."""
    whole = round(seconds)
    for size, unit, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // below} {small}"
    return f"{whole} s"


def number(value: float) -> str:
    """Three digits behind the point, as far as they say anything: `0.693`, `1.20e-05`, `3.00e+07`."""
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.2e}"
