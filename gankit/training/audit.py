"""Membership-inference audit: attacks that separate the training data of a generator from other samples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.data.batches import Batches
from gankit.data.load import load_dataset
from gankit.errors import GankitError, InputError
from gankit.evaluation.evaluator import generate, samples_of
from gankit.evaluation.membership import (
    Auc,
    auc,
    distances_to_samples,
    monte_carlo_scores,
    true_positive_rate,
)
from gankit.evaluation.standalone import data_table, evaluate, without_download
from gankit.images.grid import as_input
from gankit.plugin.condition import ClassCondition, Condition
from gankit.plugin.dataset import Dataset, Rows, in_eight_bits
from gankit.recipe.toml import Raw, merge
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.sampling.generator_file import refuse_untrusted
from gankit.sampling.sampler import CHUNK, Sampler
from gankit.storage.hub import is_address
from gankit.training.run import TrainingRun
from gankit.training.saved_run import load_run, mean_logits

FPR = 0.01
"""False positive rate at which the true positive rate of an attack is reported."""


class Attack(NamedTuple):
    """Result of one attack."""

    name: str
    auc: Auc
    true_positive_rate: float
    """Proportion of members that the attack finds with a false positive rate of 1%."""


class Audit(NamedTuple):
    """Result of a membership-inference audit."""

    attacks: list[Attack]
    left_out: list[str]
    """Attacks and metrics that are not possible, each with the reason."""

    members: int
    """Number of samples of the training data."""

    non_members: int
    """Number of samples of the held-out data that are not in the training data."""

    generated: int
    """Number of generated samples."""

    copies: dict[str, float]
    """Values of the metric `memorisation` for the training data. Empty if the metric does not apply."""

    facts: dict[str, float | str]
    """Facts in the generator file, such as epsilon after private training."""


def audit(
    path: str | Path,
    against: str,
    changes: Raw | None = None,
    *,
    count: int = 1000,
    generated: int = 10_000,
    seed: int = 0,
    device: str = "auto",
    trust: bool = False,
) -> Audit:
    """Attack a generator: separate samples of its training data from held-out samples of the same distribution.

    Three scores are used. `discriminator`: the logit of the run's D (Hayes 2019, LOGAN). `monte_carlo`: the proportion
    of generated samples near a sample (Hilprecht 2019). `nearest_sample`: the negative distance to the nearest
    generated sample (Chen 2020, GAN-Leaks). Distances are Euclidean between samples in [-1, 1].

    Args:
        path: run directory, generator file, or address `hf://USER/NAME`. Only a run directory has a D.
        against: held-out data: name of a data plugin, or path to images.
        changes: settings of the held-out data that replace the defaults, such as `{"data": {"split": "test"}}`.
        count: number of members, and of non-members. If there are fewer, all are used.
        generated: number of generated samples.
        seed: random seed of the choice of samples and of z.
        device: device to use.
        trust: True to import plugins that the recipe specifies by module or path.

    Raises:
        InputError: the generator or the data cannot be used, or the held-out data are training data.
    """
    path = path if is_address(path) else Path(path)
    if wrong := next((key for key in changes or {} if key != "data"), None):
        raise InputError(f"{wrong}: unknown key; only settings of the held-out data, data.KEY=VALUE, can be given")
    sampler = Sampler.load(path, device, trust)
    own: Raw = sampler.card["recipe"]["data"]
    own = without_download({"use": own} if isinstance(own, str) else own)
    if not trust:
        refuse_untrusted(Path(path), [own["use"]])
    dataset = in_eight_bits(load_dataset(own, str(path)))
    table = merge({"data": held_out_table(against, own, dataset.shape)}, changes or {})["data"]
    held_out = in_eight_bits(load_dataset(table, f"--against {against}"))
    if held_out.shape != dataset.shape:
        have, need = ("x".join(map(str, one.shape)) for one in (held_out, dataset))
        raise InputError(
            f"--against {against}: the samples are {have}, and those of the training data {need}; name other data, or "
            "set data.resolution"
        )
    training = dataset.read()
    others = without_rows_of(training, held_out.read())
    if len(others.images) < 2:
        raise InputError(
            f"--against {against}: all samples are in the training data; name held-out data, for example with "
            "data.split=test"
        )
    members, non_members = (draw(rows, count, seed) for rows in (training, others))
    scores: dict[str, tuple[Tensor, Tensor]] = {}
    left_out = []
    try:
        scores = sample_scores(sampler, members, non_members, dataset, generated, seed)
    except InputError as error:
        left_out.append(f"monte_carlo, nearest_sample: {error}")
    try:
        scores = {"discriminator": discriminator_scores(path, members, non_members, held_out, device, trust)} | scores
    except InputError as error:
        left_out.append(f"discriminator: {error}")
    copies: dict[str, float] = {}
    try:
        settings = {"evaluation": {"count": count, "seed": seed}}
        copies = evaluate(Path(path), None, settings, device, trust, ["memorisation"])["metrics"]
    except GankitError as error:
        left_out.append(f"memorisation: {error}")
    attacks = [Attack(name, auc(*both), true_positive_rate(*both, FPR)) for name, both in scores.items()]
    sizes = len(members.images), len(non_members.images), generated
    return Audit(attacks, left_out, *sizes, copies, sampler.card.get("facts", {}))


def held_out_table(against: str, own: Raw, shape: tuple[int, ...]) -> Raw:
    """Return the table `data` of the held-out data.

    A dataset of the same plugin as the training data has the settings of the training data, `own`. Images at a path are
    converted to the shape of the training data, `shape`.
    """
    if against == own["use"]:
        return own
    table: Raw = data_table(against)["data"]
    if table["use"] == "images" and Path(against).suffix != ".safetensors" and len(shape) == 3:
        channels, *size = shape
        table |= {"resolution": size, "channels": channels}
    return table


def draw(rows: Rows, count: int, seed: int) -> Rows:
    """Return `count` random rows, or all rows if there are fewer."""
    return Batches(rows, min(count, len(rows.images)), 0, seed).next()


def without_rows_of(training: Rows, others: Rows) -> Rows:
    """Return the rows of `others` whose samples do not occur in `training`."""

    def keys(images: Tensor) -> list[bytes]:
        return [row.tobytes() for row in images.contiguous().numpy()]

    known = set(map(hash, keys(training.images)))
    new = torch.tensor([hash(key) not in known for key in keys(others.images)])
    return others.map(lambda tensor: tensor[new])


def sample_scores(
    sampler: Sampler, members: Rows, non_members: Rows, dataset: Dataset, generated: int, seed: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the scores of members (N,) and non-members (M,) from distances to generated samples, by attack.

    If G takes classes, the samples are generated for the classes of the members.

    Raises:
        InputError: G takes other conditions than classes.
    """
    # With conditions of the members that differ for each sample, such as source images, the generated samples are near
    # the members even if G has not seen them.
    if not isinstance(sampler.condition, ClassCondition | None):
        raise InputError(
            f"the generator takes {sampler.condition.describe()}, and samples for the conditions of the training data "
            "are near them in any case"
        )
    fake = generate(sampler, generated, seed, samples_of(members, dataset.condition)).images
    candidates = torch.cat([members.images, non_members.images])
    distances = distances_to_samples(as_input(candidates).flatten(1), as_input(fake).flatten(1))
    scores = {"monte_carlo": monte_carlo_scores(distances), "nearest_sample": -distances.amin(1)}
    size = len(members.images)
    return {name: (score[:size], score[size:]) for name, score in scores.items()}


def discriminator_scores(
    path: Path | str, members: Rows, non_members: Rows, held_out: Dataset, device: str, trust: bool
) -> tuple[Tensor, Tensor]:
    """Return the logits of the discriminator in a run's newest checkpoint for members (N,) and non-members (M,).

    Raises:
        InputError: there is no run or no checkpoint, or D takes other inputs than single samples.
    """
    if is_address(path) or not Path(path).is_dir():
        raise InputError(f"{path} has no discriminator; name the run directory")
    run, _ = load_run(Path(path), device, trust)
    if run.spec.pack > 1 or run.spec.latent_pairs:
        raise InputError("the discriminator takes several samples, or a sample with its z, as one input")
    check_condition(run.spec.condition, held_out.condition)
    return logits(run, members), logits(run, non_members)


def check_condition(own: Condition | None, other: Condition | None) -> None:
    """Raise InputError if D takes a condition that the held-out samples do not have."""
    if own is not None and own != other:
        raise InputError(f"the discriminator takes {own.describe()}, and the held-out data have other conditions")


@torch.no_grad()
def logits(run: TrainingRun, rows: Rows) -> Tensor:
    """Return D's logit for each sample, (N,) on the CPU, in evaluation mode.

    If D returns several logits for a sample, the result is their mean.
    """
    scores = []
    with eval_mode(run.discriminator), fork_rng(run.device):
        for start in range(0, len(rows.images), CHUNK):
            part = rows.slice(start, start + CHUNK).map(lambda tensor: as_input(tensor).to(run.device))
            scores.append(mean_logits(run, part.images, part.condition).cpu())
    return torch.cat(scores)
