"""Text descriptions of a run's images and networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gankit.formatting import plural

if TYPE_CHECKING:
    from torch import nn

    from gankit.training.run import TrainingRun


def describe_images(run: TrainingRun) -> str:
    """Return the image shape, the condition and the contents of a run's data as text.

    Example: `1x28x28, 3 classes: 0, 1, 2; 300 images of 301 files (others: 1 .txt)`.
    """
    data = run.dataset
    shape = "x".join(map(str, data.shape))
    contents = f"; {data.contents}" if data.contents else ""
    return f"{shape}, {'no classes' if data.condition is None else data.condition.describe()}{contents}"


def describe_parameters(network: nn.Module) -> str:
    """Return the number of parameters of a network as text: `1,234,567 parameters`."""
    return plural(sum(p.numel() for p in network.parameters()), "parameter")
