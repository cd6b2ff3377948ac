"""Search for directions in the latent space of a generator, and rows of images along the directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from rich.progress import MofNCompleteColumn
from torch import Tensor

from gankit.errors import InputError
from gankit.plugin.condition import Wanted, requested_by
from gankit.plugin.protocols import StyleBased
from gankit.runtime.progress_bar import progress_bar
from gankit.runtime.rng import derived_seed, eval_mode, fork_rng
from gankit.sampling.directions import (
    Directions,
    Method,
    closed_form_directions,
    observe,
    principal_components,
    regressed_directions,
)
from gankit.sampling.sampler import CHUNK, Sampler


def find_directions(
    sampler: Sampler,
    method: Method = "pca",
    count: int = 10,
    samples: int = 10_000,
    seed: int = 0,
    wanted: Wanted = None,
    sources: Tensor | None = None,
) -> Directions:
    """Find directions in which the images of a generator change most.

    For `pca`, the directions are the principal components of w if the generator has a w (`StyleBased`). Otherwise, they
    are the principal components of features after the first layer, regressed to z (Härkönen 2020). For `sefa`, they are
    the eigenvectors of A^T A, where A contains the weights of all layers that get w or z (Shen 2021).

    Args:
        sampler: sampler with the generator and the prior.
        method: `pca` or `sefa`.
        count: number of directions. It is reduced to the length of the code if necessary, and for `pca` to
            `samples` - 1, because N samples have at most N - 1 principal components.
        samples: number of samples for `pca` and for the standard deviations, at least 2.
        seed: random seed.
        wanted: condition of all samples, as in `Sampler.sample`.
        sources: source images, as in `Sampler.sample`.

    Raises:
        InputError: the generator does not accept the condition, or the method does not apply to the generator.
    """
    seed = derived_seed(seed, "directions")
    condition = sampler.conditions(samples, requested_by(wanted), seed, sources)
    z = sampler.latent(samples, condition, seed)
    generator = sampler.unmoved_generator
    with eval_mode(generator), fork_rng(sampler.device, seed), torch.no_grad():
        codes = _in_chunks(generator.map_latent, sampler, z, condition) if isinstance(generator, StyleBased) else z
        count = min(count, codes.shape[1], len(codes) - 1 if method == "pca" else count)
        if method == "sefa":
            vectors = closed_form_directions(_first_weights(sampler, codes.shape[1], z[:1], condition), count)
        elif isinstance(generator, StyleBased):
            vectors, _ = principal_components(codes, count)
        else:
            features = _in_chunks(partial(_features, sampler), sampler, z, condition)
            if (features == features[0]).all():
                raise InputError("pca: the first features of the generator do not depend on z; use the method sefa")
            _, coordinates = principal_components(features, min(count, features.shape[1]))
            vectors = regressed_directions(z, coordinates)
    return Directions.of_codes(vectors, codes, "w" if isinstance(generator, StyleBased) else "z", method)


def direction_rows(
    sampler: Sampler, directions: Directions, z: Tensor, condition: Tensor | None, reach: float, columns: int
) -> Iterator[Tensor]:
    """Generate a row of samples for each direction. Yield the samples of one row, (columns, *shape) in [-1, 1].

    The code moves from -`reach` to `reach` standard deviations along the direction. With an odd number of columns, the
    sample in the middle is not moved.

    Args:
        sampler: sampler with the generator.
        directions: directions of this generator.
        z: latent vector of the sample that is not moved, (1, latent_size).
        condition: condition of the sample, (1, ...), or None.
        reach: largest move, in standard deviations.
        columns: number of samples in a row, at least 2.
    """
    amounts = torch.linspace(-reach, reach, columns).tolist()
    for number in range(len(directions.vectors)):
        # Generate each sample alone. Noise in the generator is then the same in all samples.
        row = [next(sampler.moved(directions, {number: amount}).outputs(z, condition)) for amount in amounts]
        yield torch.cat(row)


def _in_chunks(
    function: Callable[[Tensor, Tensor | None], Tensor], sampler: Sampler, z: Tensor, condition: Tensor | None
) -> Tensor:
    """Call a function with chunks of z and of the condition on the sampler's device. Return its results on the CPU."""
    results = []
    with progress_bar("samples", len(z), MofNCompleteColumn()) as bar:
        for start in range(0, len(z), CHUNK):
            some = slice(start, start + CHUNK)
            results.append(function(*sampler.inputs(z[some], None if condition is None else condition[some])).cpu())
            bar.advance(bar.task_ids[0], len(results[-1]))
    return torch.cat(results)


def _features(sampler: Sampler, z: Tensor, condition: Tensor | None) -> Tensor:
    """Return the features after the first layers, (B, D), for z (B, L) and the condition."""
    generator = sampler.unmoved_generator
    return observe(generator, lambda z: generator(z, condition), z).features.float()


def _first_weights(sampler: Sampler, size: int, z: Tensor, condition: Tensor | None) -> Tensor:
    """Return A, (outputs, size): the weights of all layers that get the code itself, one below the other.

    Column j is the difference between the outputs of these layers for the unit vector e_j and for 0. This difference
    includes factors of the weights, such as those of equalised learning rates and spectral normalisation.

    Args:
        sampler: sampler with the generator.
        size: length of the code.
        z: one latent vector, (1, L).
        condition: conditions, of which the first one is used, or None.
    """
    generator = sampler.unmoved_generator
    z, condition = sampler.inputs(z, None if condition is None else condition[:1])
    layers = generator.styles(z, condition).shape[1] if isinstance(generator, StyleBased) else 0

    def forward(code: Tensor) -> Tensor:
        if isinstance(generator, StyleBased):
            return generator.synthesize(code[:, None].expand(-1, layers, -1))
        return generator(code, None if condition is None else condition.expand(len(code), *condition.shape[1:]))

    codes = torch.cat([torch.zeros(1, size), torch.eye(size)]).to(sampler.device)
    outputs = []
    for chunk in codes.split(CHUNK):
        first = observe(generator, forward, chunk).first
        if not first:
            raise InputError("sefa: z enters no linear layer or convolution of the generator; use the method pca")
        outputs.append(torch.cat(first, dim=1).float())
    responses = torch.cat(outputs)
    return (responses[1:] - responses[0]).T.cpu()
