"""Generated samples of each class, to enlarge a small labelled dataset."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, get_args

import torch
from rich.progress import MofNCompleteColumn
from torch import Tensor

from gankit.errors import GankitError, InputError
from gankit.evaluation.standalone import class_extractor
from gankit.images.grid import to_bytes
from gankit.plugin.condition import Requested, VectorCondition
from gankit.plugin.extractor import Extractor
from gankit.recipe.toml import overrides_from_here
from gankit.runtime.progress_bar import progress_bar
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.directions import weights_hash
from gankit.sampling.sampler import CHUNK, Sampler, safe_name
from gankit.storage.atomic_io import write_folder, write_json
from gankit.training.run import TrainingRun
from gankit.training.saved_run import load_saved_run, mean_logits
from gankit.version import __version__

Filter = Literal["discriminator", "classifier"]

MOST_DRAWN = 50
"""Maximum number of drawn samples for each sample that is needed. Then the search for accepted samples is given up."""

TABLE = "samples.csv"
"""Name of the file with all samples, for generators of table rows."""

PROVENANCE = "provenance.json"

REJECTED = -math.inf
"""Score of a sample that is not kept in any case."""


class Candidates(NamedTuple):
    """Samples of one class with their scores."""

    samples: Tensor
    """Samples (n, *shape) in [-1, 1]."""

    condition: Tensor
    z: Tensor
    numbers: Tensor
    """Number of each sample in the sequence of all samples of its class that were drawn, (n,)."""

    scores: Tensor
    """Score of each sample (n,). `REJECTED` for samples that must not be kept."""

    def rows(self, index: Tensor) -> Candidates:
        """Return the samples with the indices (m,)."""
        return Candidates(*(tensor[index] for tensor in self))


Score = Callable[[Candidates, str], Tensor]
"""Function that takes samples and the name of their class, and returns their scores (n,)."""


@dataclass(frozen=True)
class AugmentedDataset:
    """Return value of `augment_dataset`."""

    path: Path
    """Folder with the samples and `provenance.json`."""

    kept: Mapping[str, int]
    """Number of written samples of each class, by the name of the class."""

    drawn: Mapping[str, int]
    """Number of samples of each class that were drawn from the generator, by the name of the class."""


def augment_dataset(
    file: str | Path,
    out: str | Path,
    per_class: int = 500,
    filter: Filter | None = None,
    keep: float = 0.5,
    confidence: float = 0.0,
    label: str | None = None,
    against: str | None = None,
    overrides: Iterable[str] = (),
    seed: int = 0,
    device: str = "auto",
    trust: bool = False,
) -> AugmentedDataset:
    """Write generated samples of each class to a folder, to enlarge a dataset.

    Each class gets a subfolder with one file for each sample, as the data plugin `images` reads it. Table rows are
    written to one file `samples.csv`. The file `provenance.json` describes the generator, the filter and each sample.
    The folder appears only when it is complete.

    Args:
        file: run directory, generator file, or address `hf://USER/NAME` of a generator with classes.
        out: new folder.
        per_class: number of samples of each class.
        filter: `discriminator`: of the drawn samples of a class, keep those with the largest outputs of the run's
            discriminator. `classifier`: keep the samples that a classifier, which is trained on the real data, assigns
            to the requested class. None: keep all samples.
        keep: proportion of the drawn samples that the filter `discriminator` keeps.
        confidence: smallest probability of the requested class for the filter `classifier`.
        label: name of an attribute with words, such as `hair`, or of a column of a table. Its words are the classes.
            None for a generator whose condition is the class.
        against: real data for the classifier, as in `gankit eval`. None means the training data of the generator.
        overrides: settings of the classifier and its data, such as `extractor.steps=400` or `data.path=photos`.
        seed: random seed. The same seed gives the same files.
        device: device to use.
        trust: True to import plugins that the generator file or the run's recipe specifies by module or path.

    Raises:
        InputError: the generator has no classes, the folder exists, an argument cannot be used, or the filter
            accepts too few samples.
    """
    file, out = Path(file), Path(out)
    check_arguments(out, filter, per_class, keep, confidence, seed)
    run = None
    if filter == "discriminator":
        run, sampler = run_with_discriminator(file, device, trust)
    else:
        sampler = Sampler.load(file, device, trust)
    classes = requests_of(sampler, label, file)
    facts: dict[str, Any] = {"name": filter}
    score: Score = unfiltered
    pool = per_class
    if run is not None:
        score, pool = discriminator_score(run), pool_size(per_class, keep)
        facts |= {"keep": keep}
    elif filter == "classifier":
        if label is not None:
            raise InputError(f"{file}: the classifier predicts classes, and no attributes; leave out the filter")
        extractor = class_extractor(file, sampler, against, overrides_from_here(overrides), device, trust)
        score = classifier_score(extractor, confidence)
        facts |= {"confidence": confidence, **extractor.facts}
    as_table = ".csv" in sampler.file_suffixes
    if as_table and label is not None:
        score = with_own_label(score, sampler, label)
    folders = dict.fromkeys(classes, "") if as_table else folder_names(classes)
    found: dict[str, list[dict[str, Any]]] = {}
    drawn: dict[str, int] = {}

    def write(temporary: Path) -> None:
        rows: list[Candidates] = []
        with progress_bar("drawing samples", pool * len(classes), MofNCompleteColumn()) as bar:
            for name, requested in classes.items():
                draws = candidates(sampler, name, requested, seed, score)
                kept, drawn[name] = best(draws, pool, per_class, name, lambda n: bar.advance(bar.task_ids[0], n))
                if as_table:
                    rows.append(kept)
                    paths = [temporary / TABLE] * per_class
                else:
                    folder = temporary / folders[name]
                    folder.mkdir()
                    names = [f"generated_{number:06d}" for number in kept.numbers.tolist()]
                    paths = sampler.write(kept.samples, names, folder)
                found[name] = origins(kept, paths, temporary, name, seed, scored=filter is not None)
        if as_table:
            samples, condition = (torch.cat([one[part] for one in rows]) for part in (0, 1))
            sampler.write_file(samples, condition, temporary / TABLE)
        write_json(
            temporary / PROVENANCE,
            {
                "gankit": __version__,
                "generator": {"weights": weights_hash(sampler.generator), "iteration": sampler.card["iteration"]},
                "seed": seed,
                "filter": facts,
                "classes": {n: {"folder": folders[n], "drawn": drawn[n], "kept": per_class} for n in classes},
                "samples": [one for rows_of_class in found.values() for one in rows_of_class],
            },
        )

    write_folder(out, write)
    return AugmentedDataset(out, dict.fromkeys(classes, per_class), drawn)


def check_arguments(
    out: Path, filter: Filter | None, per_class: int, keep: float, confidence: float, seed: int
) -> None:
    """Raise InputError if the folder exists, the filter is unknown, or a number is outside its range."""
    if filter not in (None, *get_args(Filter)):
        raise InputError(f"filter: {filter!r} is unknown; there are {', '.join(get_args(Filter))}")
    if out.exists():
        raise InputError(f"{out}: exists already; choose a new folder")
    for name, value, valid, range_ in (
        ("per_class", per_class, per_class >= 1, "1 or more"),
        ("keep", keep, 0 < keep <= 1, "a number above 0, up to 1"),
        ("confidence", confidence, 0 <= confidence <= 1, "a number from 0 to 1"),
        ("seed", seed, seed >= 0, "0 or more"),
    ):
        if not valid:
            raise InputError(f"{name}: {value} given; give {range_}")


def requests_of(sampler: Sampler, label: str | None, file: Path) -> dict[str, Requested]:
    """Return the condition to request for each class, by the name of the class.

    The classes are those of the generator, or the words of the attribute `label`.

    Raises:
        InputError: the generator has no classes, or `label` is not one of its attributes with words.
    """
    if sampler.condition is None:
        raise InputError(
            f"{file}: the generator is unconditional, so its samples have no classes; train a generator with a class "
            "as its condition"
        )
    if sampler.class_names and label is None:
        return {name: {"class": name} for name in sampler.class_names}
    names = sampler.condition.names if isinstance(sampler.condition, VectorCondition) else ()
    pairs = [(attribute, word) for attribute, equals, word in (name.partition("=") for name in names) if equals]
    attributes = list(dict.fromkeys(attribute for attribute, _ in pairs))
    if label is None:
        way_out = f"name an attribute as the label: {', '.join(attributes)}" if attributes else "use another generator"
        raise InputError(
            f"{file}: the generator takes {sampler.condition.describe(names=False)}, not a class; {way_out}"
        )
    if label not in attributes:
        there = f"there are {', '.join(attributes)}" if attributes else "the generator has no attributes with words"
        raise InputError(f"{file}: the label {label!r} is unknown; {there}")
    return {word: {label: word} for attribute, word in pairs if attribute == label}


def folder_names(classes: Iterable[str]) -> dict[str, str]:
    """Return a safe and unique folder name for each class. If the names of classes can be folder names, they are equal.

    A name must not start with a dot, because folders with such names are hidden.
    """
    safe = {name: re.sub(r"^\.+", "_", safe_name(name)) for name in classes}
    lower = [folder.casefold() for folder in safe.values()]
    unique = len(set(lower)) == len(lower) and all(lower)
    return safe if unique else {name: f"{number}_{folder}" for number, (name, folder) in enumerate(safe.items())}


def candidates(sampler: Sampler, name: str, requested: Requested, seed: int, score: Score) -> Iterator[Candidates]:
    """Yield scored samples of the class `name` without end, `CHUNK` at a time.

    Each draw has its own seed. The n-th sample of a class therefore depends only on `seed`, not on the number of
    samples that are drawn.
    """
    for draw in count():
        own = seed_of_draw(seed, name, draw)
        condition = sampler.conditions(CHUNK, requested, own)
        assert condition is not None, "`requests_of` refuses unconditional generators"
        z = sampler.latent(CHUNK, condition, own)
        samples = torch.cat(list(sampler.outputs(z, condition, derived_seed(own, "noise"))))
        numbers = torch.arange(CHUNK) + draw * CHUNK
        one = Candidates(samples, condition, z, numbers, torch.zeros(CHUNK))
        scores = score(one, name)
        if scores.isnan().any():
            raise GankitError(f"class {name!r}: the score of a generated sample is NaN; the filter cannot be used")
        yield one._replace(scores=scores)


def seed_of_draw(seed: int, name: str, draw: int) -> int:
    """Return the seed of z for the draw with the number `draw` of a class."""
    return derived_seed(seed, f"augment/{name}/{draw}")


def best(
    draws: Iterable[Candidates],
    pool: int,
    number: int,
    name: str,
    advance: Callable[[int], object] = lambda found: None,
) -> tuple[Candidates, int]:
    """Return the `number` samples with the highest scores among the first `pool` samples that are not rejected.

    If scores are equal, earlier samples are kept. The result is in the order in which the samples were drawn. Only
    `number` samples and one draw are in memory at a time.

    Args:
        draws: scored samples of a class, in parts.
        pool: number of samples from which the best are chosen.
        number: number of samples to keep, at most `pool`.
        name: name of the class, for messages.
        advance: function that is called with the number of samples of each part that are not rejected.

    Returns:
        The samples, and the number of samples that were drawn until the pool was complete.

    Raises:
        InputError: more than `MOST_DRAWN` samples were drawn for each sample of the pool.
    """
    kept, left, drawn = None, pool, 0
    for draw in draws:
        accepted = (draw.scores > REJECTED).nonzero().flatten()[:left]
        left -= len(accepted)
        advance(len(accepted))
        drawn = int(draw.numbers[-1] if left else draw.numbers[accepted[-1]]) + 1
        part = draw.rows(accepted)
        kept = part if kept is None else Candidates(*map(torch.cat, zip(kept, part, strict=True)))
        kept = kept.rows(kept.scores.argsort(descending=True, stable=True)[:number].sort().values)
        if not left:
            break
        if drawn >= MOST_DRAWN * max(pool, CHUNK):
            raise InputError(
                f"class {name!r}: only {pool - left:,} of {drawn:,} generated samples are of this class, and {pool:,} "
                "are needed; train the generator longer, or ask for a lower confidence or for no filter"
            )
    assert kept is not None, "there is at least one draw"
    return kept, drawn


def pool_size(per_class: int, keep: float) -> int:
    """Return the smallest number of samples of which `per_class` are at most the proportion `keep`."""
    # 1e-9: a quotient such as 3 / 0.3 may be slightly above the integer that it equals.
    return math.ceil(per_class / keep - 1e-9)


def unfiltered(samples: Candidates, name: str) -> Tensor:
    """Return equal scores, so that the first samples are kept."""
    return torch.zeros(len(samples.numbers))


def run_with_discriminator(file: Path, device: str, trust: bool) -> tuple[TrainingRun, Sampler]:
    """Return a run with the networks of its newest checkpoint, and the sampler of its saved generator.

    Raises:
        InputError: `file` is not a run directory with a checkpoint, or its discriminator takes several images at once.
    """
    if not file.is_dir():
        raise InputError(f"{file}: a generator file has no discriminator; name the run, or choose another filter")
    run, sampler, _ = load_saved_run(file, device, trust)
    if run.spec.pack > 1:
        raise InputError(
            f"{file}: the discriminator takes {run.spec.pack} images as one input (packing), so single images have no "
            "score; choose another filter, or none"
        )
    return run, sampler


def discriminator_score(run: TrainingRun) -> Score:
    """Return a function whose scores are the outputs of the discriminator: the mean of the logits of each sample.

    The discriminator is in evaluation mode. The samples are not augmented.
    """

    @torch.no_grad()
    def score(samples: Candidates, name: str) -> Tensor:
        second = samples.z if run.spec.latent_pairs else samples.condition
        with eval_mode(run.discriminator), fork_rng(run.device):
            return mean_logits(run, samples.samples.to(run.device), second.to(run.device)).cpu()

    return score


def classifier_score(extractor: Extractor, confidence: float) -> Score:
    """Return a function whose scores are the probabilities of the requested class.

    A sample is rejected if another class has a larger probability, or if its probability is below `confidence`.
    """

    def score(samples: Candidates, name: str) -> Tensor:
        images = to_bytes(samples.samples)
        logits = extractor.logits_of(images, extractor(images))
        assert logits is not None, "`class_extractor` refuses extractors without classes"
        label = extractor.class_names.index(name)
        probability = logits.softmax(1)[:, label]
        rejected = (logits.argmax(1) != label) | (probability < confidence)
        return probability.masked_fill(rejected, REJECTED)

    return score


def with_own_label(score: Score, sampler: Sampler, label: str) -> Score:
    """Return a score function that also rejects table rows whose column `label` is not the requested word.

    A generator of tables also generates the column of the label. The word may differ from the condition.
    """

    def own(samples: Candidates, name: str) -> Tensor:
        with TemporaryDirectory() as folder:
            path = Path(folder) / TABLE
            sampler.write_file(samples.samples, samples.condition, path)
            with path.open(newline="", encoding="utf-8") as file:
                words = [row.get(label, name) for row in csv.DictReader(file)]
        return score(samples, name).masked_fill(torch.tensor([word != name for word in words]), REJECTED)

    return own


def origins(
    kept: Candidates, paths: Iterable[Path], top: Path, name: str, seed: int, scored: bool
) -> list[dict[str, Any]]:
    """Return the origin of each sample, for `provenance.json`: its file, class, seed of z, row of z, and score."""
    return [
        {
            "file": path.relative_to(top).as_posix(),
            "class": name,
            "seed": seed_of_draw(seed, name, number // CHUNK),
            "row": number % CHUNK,
            "score": score if scored else None,
        }
        for path, number, score in zip(paths, kept.numbers.tolist(), kept.scores.tolist(), strict=True)
    ]
