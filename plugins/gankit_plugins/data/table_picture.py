"""Picture of table rows: a histogram for each column, over the distribution of the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gankit_plugins.layers.table_columns import Column, decode_rows

WIDTH, HEIGHT, MARGIN, TITLE = 240, 120, 12, 16
"""Size of a panel, and of its margin and its title, in pixels."""

BINS, WORDS = 24, 24
"""Maximum number of bars for a number, and for a category. Of more words, the most frequent ones are shown."""

BACKGROUND, DATA, SAMPLES, TEXT = (255, 255, 255), (205, 205, 205), (30, 90, 170), (40, 40, 40)
"""RGB colours."""


def draw_columns(rows: Tensor, columns: Sequence[Column]) -> Image.Image:
    """Draw a panel for each column of rows (N, F): the proportions of the samples over those of the data.

    Grey bars show the data, according to the description of the column. Narrow blue bars show the samples. The last bar
    of a number with missing cells shows the missing ones.
    """
    across = max(1, min(4, math.ceil(math.sqrt(len(columns)))))
    down = math.ceil(len(columns) / across)
    picture = Image.new("RGB", (across * WIDTH, down * HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for number, (column, values) in enumerate(zip(columns, decode_rows(rows, columns), strict=True)):
        left, top = number % across * WIDTH + MARGIN, number // across * HEIGHT
        data, samples = proportions(column, values)
        draw.text((left, top + 2), f"{column.name[:20]}: {extent(column)}"[:38], fill=TEXT)
        base, high = top + HEIGHT - MARGIN, HEIGHT - TITLE - MARGIN
        scale = high / max(1e-9, data.max().item(), samples.max().item())
        step = (WIDTH - 2 * MARGIN) / len(data)
        for bar, (wide, narrow) in enumerate(zip(data.tolist(), samples.tolist(), strict=True)):
            x = left + bar * step
            draw.rectangle((x, base - wide * scale, x + 0.9 * step, base), fill=DATA)
            if narrow:
                draw.rectangle((x + 0.25 * step, base - narrow * scale, x + 0.65 * step, base), fill=SAMPLES)
    return picture


def extent(column: Column) -> str:
    """Return the range of a number or the number of words of a category, for the title of a panel."""
    return f"{len(column.words)} words" if column.is_category else f"{column.low:g} to {column.high:g}"


def proportions(column: Column, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the proportions in each bar, of the data and of values (N,), each (bars,) float64."""
    if column.is_category:
        counts = torch.tensor(column.counts, dtype=torch.float64)
        samples = values.long().bincount(minlength=len(counts)).double()
        shown = counts.argsort(descending=True, stable=True)[:WORDS]
        return (counts / counts.sum())[shown], (samples / len(values))[shown]
    edges = torch.linspace(column.low, column.high, BINS + 1, dtype=torch.float64)
    edges[0], edges[-1] = -math.inf, math.inf
    weights, means, stds = column.mixture()
    below = 0.5 * (1 + torch.erf((edges[:, None] - means) / (stds * math.sqrt(2))))
    data = (below.diff(dim=0) * weights).sum(1) * (1 - column.missing_share)
    known = values[~values.isnan()]
    samples = torch.bucketize(known, edges[1:-1], right=True).bincount(minlength=BINS).double() / len(values)
    if column.missing is None:
        return data, samples
    missing = torch.tensor([1 - len(known) / len(values)], dtype=torch.float64)
    return torch.cat([data, data.new_tensor([column.missing_share])]), torch.cat([samples, missing])
