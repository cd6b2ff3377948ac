"""Training by sampling of CTGAN (Xu 2019): conditions with rare words are drawn as often as useful for learning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gankit import InputError, LossTerm, Player, Plugin, Run, Scheduled, Settings, Spec, Step, hookimpl
from gankit_plugins.layers.table_columns import Column, categories, columns_of, split

SMALLEST = 1e-30
"""Lower limit of the generated probability of a word in the cross entropy. The logarithm of 0 would be infinite."""


class WordIndex(NamedTuple):
    """Row numbers of a table, by category and word. C is the number of categories, W the largest number of words."""

    order: Tensor
    """Row numbers sorted by the words of each category, (C, N) int64."""

    first: Tensor
    """Position in `order` of the first row with each word, (C, W) int64."""

    counts: Tensor
    """Number of rows with each word, (C, W) int64. 0 for words that a category does not have."""

    offsets: Tensor
    """Number of the condition's first element for each category, (C,) int64."""


def index_words(words: Sequence[Tensor], sizes: Sequence[int]) -> WordIndex:
    """Return the index of the words (N,) of each category. `sizes` are the numbers of words."""
    counts = torch.stack([one.bincount(minlength=max(sizes)) for one in words])
    return WordIndex(
        torch.stack([one.argsort(stable=True) for one in words]),
        counts.cumsum(1) - counts,
        counts,
        torch.tensor([0, *sizes[:-1]], device=counts.device).cumsum(0),
    )


def draw_words(weights: Tensor, count: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Draw a category uniformly, and a word with probabilities in proportion to `weights` (C, W), `count` times.

    Return the numbers of the categories and of the words, each (count,) int64.
    """
    chosen = torch.randint(len(weights), (count,), device=weights.device, generator=generator)
    return chosen, torch.multinomial(weights[chosen], 1, generator=generator)[:, 0]


def draw_rows(index: WordIndex, chosen: Tensor, word: Tensor) -> Tensor:
    """Draw a row number (B,) uniformly from the rows that have the word (B,) of the category `chosen` (B,)."""
    counts = index.counts[chosen, word]
    number = (torch.rand(len(word), device=word.device, dtype=torch.float64) * counts).long().clamp(max=counts - 1)
    return index.order[chosen, index.first[chosen, word] + number]


def as_condition(offsets: Tensor, chosen: Tensor, word: Tensor, size: int) -> Tensor:
    """Return conditions (B, size): 1 for the word of the chosen category, 0 elsewhere."""
    position = offsets[chosen] + word
    return (position[:, None] == torch.arange(size, device=position.device)).float()


def condition_loss(rows: Tensor, condition: Tensor, columns: Sequence[Column]) -> Tensor:
    """Return the cross entropy in nats, a scalar, between conditions (B, K) and the words of generated rows (B, F).

    Source:
        Xu 2019, section 4.3: cross entropy between the mask vector and the generated one-hot vector.
    """
    parts = [part for column, part in zip(columns, split(rows, columns), strict=True) if column.is_category]
    probabilities = torch.cat(parts, dim=1).float().clamp(min=SMALLEST)
    return -(condition * probabilities.log()).sum(1).mean()


def counts_of(columns: Sequence[Column]) -> Tensor:
    """Return the number of rows with each word of each category, (C, W) float64, from the description of columns."""
    own = [torch.tensor(column.counts, dtype=torch.float64) for column in categories(columns)]
    return torch.nn.utils.rnn.pad_sequence(own, batch_first=True)


def requested_words(columns: Sequence[Column], requested: Mapping[str, str | float]) -> tuple[int, int]:
    """Return the number of the category that a user requests, and the number of its word.

    Raises:
        InputError: the user requests several words, or a category or a word that does not exist.
    """
    own = categories(columns)
    names = [column.name for column in own]
    if wrong := next((name for name in requested if name not in names), None):
        raise InputError(f"{wrong}: there is no such category; there are {', '.join(names)}")
    if len(requested) > 1:
        raise InputError(f"{', '.join(requested)}: the generator takes one word at a time; keep one of them")
    ((name, word),) = requested.items()
    words = own[names.index(name)].words
    if str(word) not in words:
        shown = ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")
        raise InputError(f"{name}: {word!r} is no word of this category; there are {shown}")
    return names.index(name), words.index(str(word))


class TrainingBySampling(Plugin):
    """Conditions on single words, such as job = nurse, that are drawn by the logarithm of their frequency (CTGAN).

    Each step draws a category of the table uniformly, and one of its words in proportion to ln(1 + number of rows). The
    real rows of the step have this word, and G takes the word as its condition. A cross entropy in G's loss makes the
    generated rows have it too. Samples without a requested word get words by their original frequency.
    `gankit sample RUN --set job=nurse --out rows.csv` requests a word.

    Source: Xu 2019, section 4.3. The paper uses the logarithm of the frequency; 1 is added here, because the logarithm
    of a single row would be 0.

    When to use: for tables with categories, above all with rare words.
    When not: for tables of numbers only.
    """

    name = "training_by_sampling"

    class Config(Settings):
        weight: Scheduled = Field(1.0, ge=0, description="weight of the cross entropy of the condition in G's loss")

    config: Config

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        self.columns = columns_of(spec.encoding, self.name)
        if not categories(self.columns):
            raise InputError(f"{self.name} needs a category, and the table has only numbers; remove the trick")

    @hookimpl
    def on_start(self, run: Run) -> None:
        rows = run.dataset.read().images
        parts = split(rows, self.columns)
        words = [part.argmax(1) for column, part in zip(self.columns, parts, strict=True) if column.is_category]
        index = index_words(words, [column.size for column in categories(self.columns)])
        self.rows = rows.to(run.device)
        self.index = WordIndex(*(one.to(run.device) for one in index))
        self.weights = self.index.counts.double().log1p().float()

    @hookimpl
    def draw_step(self, run: Run, player: Player) -> Step:
        train = run.recipe.train
        count = train.batch_size // train.accumulate // run.ranks.size
        chosen, word = draw_words(self.weights, count)
        assert run.spec.condition is not None
        condition = as_condition(self.index.offsets, chosen, word, run.spec.condition.shape[0])
        real = self.rows[draw_rows(self.index, chosen, word)]
        z = run.draw_latent(count, condition)
        fake = run.generator(z, condition).float()
        return Step(run, player, real, condition, z, fake)

    @hookimpl
    def loss_terms(self, player: Player) -> Iterable[LossTerm]:
        def condition_term(step: Step) -> Tensor:
            assert step.condition is not None
            return condition_loss(step.fake, step.condition, self.columns)

        if player == "generator":
            yield LossTerm("condition", condition_term, self.config.weight)

    @hookimpl
    def sampling_conditions(
        self, count: int, requested: Mapping[str, str | float], generator: torch.Generator, spec: Spec
    ) -> Tensor:
        columns = columns_of(spec.encoding, self.name)
        sizes = [column.size for column in categories(columns)]
        offsets = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        if requested:
            chosen, word = (torch.full((count,), one) for one in requested_words(columns, requested))
        else:
            chosen, word = draw_words(counts_of(columns), count, generator)
        return as_condition(offsets, chosen, word, sum(sizes))
