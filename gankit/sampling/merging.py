"""Merging of generator files: averages of their weights, and ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gankit.errors import InputError
from gankit.sampling.ensemble import uniform_of
from gankit.sampling.generator_file import generator_file, read_generator_file
from gankit.sampling.sampler import Sampler
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes

FINE = 900
"""Number of different values of `uniform_of` among 1,000 latent vectors from which the prior counts as smooth."""


def weighted_average(files: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the average of tensors of equal names and shapes: sum_i w_i theta_i, with sum_i w_i = 1.

    Integers, such as the number of batches that batch norm has seen, are those of the first file. The sum is computed
    in double precision.

    Source: Wortsman 2022 (model soups), section 2.
    """
    return {
        name: sum(w * file[name].double() for w, file in zip(weights, files, strict=True)).to(first.dtype)  # type: ignore[union-attr]
        if first.is_floating_point()
        else first
        for name, first in files[0].items()
    }


def checked_weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """Return weights whose sum is 1, in the proportions of `weights`. None means equal weights.

    Raises:
        InputError: there is not one weight for each file, or a weight is negative, or all are 0.
    """
    given = tuple(weights or (1.0,) * count)
    if len(given) != count or min(given) < 0 or not 0 < sum(given) < inf:
        text = ",".join(f"{weight:g}" for weight in given)
        raise InputError(f"--weights {text}: give {count} numbers of at least 0, one for each file, such as 0.7,0.3")
    return tuple(weight / sum(given) for weight in given)


def merge(
    paths: Sequence[str | Path],
    out: str | Path,
    weights: Sequence[float] | None = None,
    ensemble: bool = False,
    trust: bool = False,
) -> tuple[float, ...]:
    """Merge generators into one generator file: the average of their weights, or an ensemble.

    Args:
        paths: generator files or run directories, at least two.
        out: generator file to write.
        weights: one number for each generator. Only the proportions count. Default: equal numbers.
        ensemble: True for a file that contains all generators. Each sample then comes from one of them, with the
            weights as probabilities. False for the average of the networks' parameters and buffers.
        trust: True to import plugins that the files specify by module or path.

    Returns:
        The weights, with the sum 1.

    Raises:
        InputError: a file cannot be read, or the generators do not fit together.
    """
    out = Path(out)
    check_name(out)
    if len(paths) < 2:
        raise InputError(f"{paths[0] if paths else 'merge'}: give at least two generators")
    shares = checked_weights(weights, len(paths))
    files = [generator_file(Path(path)) for path in paths]
    cards, tensors = zip(*map(read_generator_file, files), strict=True)
    for file, card in zip(files, cards, strict=True):
        if "members" in card:
            raise InputError(f"{file}: is an ensemble already; merge the files of its generators")
    check_fit(files, cards, tensors, ensemble)
    origins = [{"file": str(path), "weight": share} for path, share in zip(paths, shares, strict=True)]
    if ensemble:
        check_prior(Sampler.load(files[0], "cpu", trust), files[0])
        merged = {f"{number}.{name}": tensor for number, one in enumerate(tensors) for name, tensor in one.items()}
        more: dict[str, Any] = {"members": list(cards), "weights": shares, "generator": "ensemble"}
    else:
        merged, more = weighted_average(tensors, shares), {"generator": f"average of {len(paths)}"}
    write_bytes(out, tensors_to_bytes(merged, cards[0] | more | {"merged": origins}))
    return shares


def check_name(out: Path) -> None:
    """Check the name of the file to write. Raise InputError if it is not that of a generator file."""
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: the name must end in .safetensors")


def check_fit(
    files: Sequence[Path],
    cards: Sequence[Mapping[str, Any]],
    tensors: Sequence[Mapping[str, Tensor]],
    ensemble: bool,
) -> None:
    """Check that generators can be merged.

    Raises:
        InputError: the samples, conditions or priors differ, or, for an average, the networks.
    """
    for file, card, one in zip(files[1:], cards[1:], tensors[1:], strict=True):
        for name in ("shape", "condition", "conditional", "latent_size"):
            mine, other = (cards[0]["spec"].get(name), card["spec"].get(name))
            if mine != other:
                raise InputError(f"{file}: {name} is {other}, and {mine} in {files[0]}; it must be equal")
        if card["recipe"].get("latent") != cards[0]["recipe"].get("latent"):
            raise InputError(f"{file}: the prior is not that of {files[0]}; merge generators with equal [latent]")
        if not ensemble and {n: t.shape for n, t in one.items()} != {n: t.shape for n, t in tensors[0].items()}:
            raise InputError(
                f"{file}: the network is not that of {files[0]}, so their weights have no average; add --ensemble"
            )


def check_prior(sampler: Sampler, file: Path) -> None:
    """Raise InputError if z has too few different values to decide which generator of an ensemble it belongs to."""
    z = sampler.latent(1000, sampler.conditions(1000), seed=0)
    if len(torch.unique(uniform_of(z))) < FINE:
        raise InputError(f"{file}: the first and last numbers of z are discrete, so z cannot choose a generator")
