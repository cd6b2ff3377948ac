"""A whole iteration of gankit's as one CUDA graph: the kernels are recorded once and launched together from then on.

A graph repeats kernels, and nothing that Python does. What of gankit's iteration that concerns:

- Images are drawn by indices from the CPU. The graph gathers by indices that lie in one place on the device, and new
  ones are copied there before it is launched.
- The learning rate is a Python number set at each step. Here it is a tensor on the device that the graph multiplies by
  the schedule's factor, which is written before it is launched.
- Adam counts its steps on the device (`capturable`), as the fused one does anyway.
- z, noise and dropout draw from the device's default generator, whose place in its sequence the graph is told at each
  launch.
- Turns and iterations are counted by Python, so they are counted here.
- Whether D's weights want gradients, which gradients are None after `zero_grad`, and what autocast has cast are as they
  were in the recording, which begins and ends where an iteration does.
- What Python decides in a turn is recorded with it: which terms are due, how strong noise that fades is, how many turns
  somebody counts. Recipes in which that changes are refused.
- The recorded calls make no memory of their own later: images, activations and gradients lie where they lay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from timing import Loop
from torch import Tensor

from gankit.data.batches import Batches
from gankit.plugin.slots import PLAYERS
from gankit.runtime.rng import derived_seed
from gankit.training.run import TrainingRun
from gankit.training.update import default_step_order, train_iteration

UNCHANGING = {"label_smoothing", "gradient_penalty", "dropout", "instance_noise", "r1", "r2"}
"""Tricks whose Python does the same in every iteration, in the settings that `refusal` looks at."""

WARM_UP = 3
"""Iterations before the recording: cuDNN tries its kernels out, optimisers make their state."""


class Graph(Protocol):
    def replay(self) -> None: ...


Record = Callable[[Loop, torch.device], Graph]


class Again:
    """Stands in for a graph where there is none: does once more what would have been recorded."""

    def __init__(self, loop: Loop, device: torch.device) -> None:
        self.loop = loop

    def replay(self) -> None:
        self.loop()


def recorded(loop: Loop, device: torch.device) -> Graph:
    """What a loop has the GPU do, as a graph. Nothing of it is done meanwhile."""
    graph = torch.cuda.CUDAGraph()
    # On the stream of the warm-up: gradients are added up on the stream on which autograd first met a parameter.
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(device)):
        loop()
    return graph


class IndexedImages:
    """A source of batches that gathers by indices of somebody else's, which lie on the device.

    Args:
        images, labels: on the device.
        rows: (draws in an iteration, B) int64, on the device.
    """

    def __init__(self, images: Tensor, labels: Tensor | None, rows: Tensor) -> None:
        self.images, self.labels, self.rows = images, labels, rows
        self.position = 0

    def next(self) -> tuple[Tensor, Tensor | None]:
        index = self.rows[self.position]
        self.position = (self.position + 1) % len(self.rows)
        return self.images[index], None if self.labels is None else self.labels[index]


class RecordedIteration:
    """Plays a game's iterations by launching a graph of one.

    Args:
        game: with its data on the device; it is played by nobody else from now on.
        record: makes the graph.

    Raises ValueError, with the reason, for a game that no graph can play.
    """

    def __init__(self, run: TrainingRun, record: Record) -> None:
        reason = refusal(run)
        if reason is not None:
            raise ValueError(reason)
        assert isinstance(run.batches, Batches)
        self.run = run
        train, source = run.recipe.train, run.batches
        self.turns = default_step_order(run)
        size = train.batch_size // train.accumulate
        classes = run.spec.classes if run.spec.class_balanced else 0
        labels = None if source.labels is None else source.labels.cpu()
        # Its images are their own indices, so what it draws is what the game would have drawn.
        self.order = Batches(torch.arange(source.size), labels, size, classes, derived_seed(run.recipe.seed, "data"))
        self.rows = torch.zeros(len(self.turns) * train.accumulate, size, dtype=torch.int64, device=run.device)
        self.factors = {player: torch.ones((), device=run.device) for player in PLAYERS}
        self.schedules = run.rate_factor
        run.batches = IndexedImages(source.images, source.labels, self.rows)
        run.rate_factor = self.factors.__getitem__
        for optimizer in run.optimizers.values():
            for group in optimizer.param_groups:
                group["capturable"] = True
        self.graph = self._on_a_stream_of_its_own(record)

    def _on_a_stream_of_its_own(self, record: Record) -> Graph:
        """A few iterations played as ever, and the recording of one: on a stream other than the default, as CUDA asks
        for."""
        if self.run.device.type != "cuda":
            return self._warmed_up_and_recorded(record)
        stream, before = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            graph = self._warmed_up_and_recorded(record)
        before.wait_stream(stream)
        return graph

    def _warmed_up_and_recorded(self, record: Record) -> Graph:
        run = self.run
        for _ in range(WARM_UP):
            self._feed()
            train_iteration(run)
        played, turns = run.iteration, dict(run.step_counts)
        graph = record(lambda: train_iteration(run), run.device)
        # Recording counts, and nothing was played.
        run.iteration, run.step_counts = played, turns
        return graph

    def __call__(self) -> None:
        run = self.run
        self._feed()
        played, turns = run.iteration, dict(run.step_counts)
        self.graph.replay()
        run.iteration = played + 1
        run.step_counts = {player: turns[player] + self.turns.count(player) for player in PLAYERS}

    def _feed(self) -> None:
        """The indices and rates of the next iteration, to where the graph looks for them. Nothing waits."""
        drawn = torch.stack([self.order.next()[0] for _ in range(len(self.rows))])
        if self.rows.is_cuda:
            drawn = drawn.pin_memory()
        self.rows.copy_(drawn, non_blocking=True)
        for player, factor in self.factors.items():
            factor.fill_(self.schedules(player))


def refusal(run: TrainingRun) -> str | None:
    """Why no single graph can play a game's iterations; None when one can."""
    recipe = run.recipe
    for player in PLAYERS:
        for term in run.terms[player]:
            if term.every > 1:
                return f"the {player}'s term {term.name!r} acts on every {term.every}th turn, so not all are alike"
    if run.turns is not None or run.backward is not None:
        return "a plugin decides in Python who plays or how gradients are taken"
    if not isinstance(run.batches, Batches) or run.batches.images.device.type != run.device.type:
        return "the images do not fit on the device and come from elsewhere"
    if run.ranks.size > 1:
        return "several ranks meet in every turn"
    for part in recipe.components.values():
        name = part.plugin_class.name
        if part.kind == "trick" and name not in UNCHANGING:
            return f"{name} may do another thing in each iteration than in the one that is recorded"
        if name == "instance_noise" and getattr(part.config, "over", None) is not None:
            return "the noise fades, and its strength is a number of the recording"
    for optimizer in run.optimizers.values():
        if not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
            return f"{type(optimizer).__name__} may count its steps where the graph does not"
    return None
