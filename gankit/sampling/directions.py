"""Directions in the latent space: equations, the file of directions, and a generator whose code is moved."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gankit.errors import InputError
from gankit.plugin.protocols import StyleBased
from gankit.storage.atomic_io import tensors_to_bytes, write_bytes
from gankit.storage.checkpoint import read_tensors

Method = Literal["pca", "sefa"]
"""Method that finds directions: principal components (Härkönen 2020) or a closed form of the weights (Shen 2021)."""

FORMAT = 1

TENSORS = {"directions", "deviations", "mean"}
"""Names of the tensors in a file of directions."""

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
"""Classes of layers that multiply their input by a weight matrix. Transposed convolutions are included."""

OVERSAMPLING = 30
"""Number of components that the randomised singular value decomposition computes in addition (Halko 2011)."""

POWER_ITERATIONS = 8
"""Number of power iterations of the randomised singular value decomposition. The error decreases with each one."""


def principal_components(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Compute principal components with a randomised singular value decomposition, which draws random numbers.

    Args:
        x: one vector for each sample, (N, D).
        count: K, number of components, at most N and D.

    Returns:
        Unit vectors of the components, (K, D), and the normalised coordinates of the samples, (N, K). The columns of
        the coordinates are orthonormal.

    Source: Halko 2011, algorithm 5.1.
    """
    left, _, right = torch.svd_lowrank(x - x.mean(0), min(count + OVERSAMPLING, *x.shape), POWER_ITERATIONS)
    return right[:, :count].T, left[:, :count]


def regressed_directions(z: Tensor, coordinates: Tensor) -> Tensor:
    """Find the unit vectors (K, L) in z that belong to principal components of features, by linear regression.

    Row k of the solution U minimises the sum of |U^T x - (z - mean)|^2 over all samples. The coordinates are
    orthonormal, so the solution is their product with z.

    Args:
        z: latent vectors, (N, L).
        coordinates: coordinates x of the samples, (N, K), with orthonormal columns.

    Source: Härkönen 2020, section 2.2, equation 2.
    """
    return F.normalize(coordinates.T @ (z - z.mean(0)), dim=1)


def closed_form_directions(weight: Tensor, count: int) -> Tensor:
    """Return the orthonormal directions n (K, L) with the largest changes |A n|: eigenvectors of A^T A.

    Args:
        weight: A, (outputs, L).
        count: K, at most L.

    Source: Shen 2021, section 3.2, equation 6.
    """
    wide = weight.double().cpu()
    # `eigh` returns the eigenvalues in ascending order.
    return torch.linalg.eigh(wide.T @ wide).eigenvectors.flip(1)[:, :count].T.to(weight.dtype)


def positive_signs(directions: Tensor) -> Tensor:
    """Multiply each direction (K, L) by 1 or -1, so that its entry with the largest absolute value is positive."""
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return torch.where(largest < 0, -directions, directions)


class Observed(NamedTuple):
    """Values inside a generator during one forward pass of B codes."""

    first: list[Tensor]
    """Outputs (B, n) of the layers that get the code itself, without another layer before them."""

    features: Tensor
    """Input (B, D) of the next layer that depends on the code. Without such a layer, the output of the generator."""


def observe(network: nn.Module, forward: Callable[[Tensor], Tensor], code: Tensor) -> Observed:
    """Run a forward pass, and return the outputs of the first layers and the features after them.

    The function finds the first layers with autograd. The output of each layer becomes a new leaf of the autograd
    graph. A layer's input that has the code among its leaves has therefore passed through no other layer. An input
    without leaves, such as a class, does not depend on the code. Splits, concatenations and normalisations of the code
    may come before a first layer.

    Args:
        network: network with the layers, in evaluation mode.
        forward: function that maps the code to the output of the network.
        code: vectors, (B, L).
    """
    leaf = code.detach().requires_grad_()
    first: list[Tensor] = []
    later: list[Tensor] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0]
        if not x.requires_grad:
            return output
        if torch.autograd.grad(x.sum(), leaf, retain_graph=True, allow_unused=True)[0] is not None:
            first.append(output.detach().flatten(1))
        elif not later and len(x) == len(leaf):
            later.append(x)
        # Clone the new leaf, because a layer such as `nn.ReLU(inplace=True)` cannot change a leaf.
        return output.detach().requires_grad_().clone()

    handles = [module.register_forward_hook(record) for module in network.modules() if isinstance(module, LAYERS)]
    try:
        with frozen(network), torch.enable_grad():
            output = forward(leaf)
    finally:
        for handle in handles:
            handle.remove()
    return Observed(first, (later[0] if later else output).detach().flatten(1))


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Disable the gradients of a network's parameters for the `with` block."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


@dataclass(frozen=True)
class Directions:
    """K directions in the code of a generator: in w if the generator has a w, otherwise in z."""

    vectors: Tensor
    """Unit vectors, (K, L)."""

    deviations: Tensor
    """Standard deviation of the code along each direction, (K,)."""

    mean: Tensor
    """Mean of the code, (L,)."""

    code: Literal["z", "w"]
    method: Method

    @classmethod
    def of_codes(cls, vectors: Tensor, codes: Tensor, code: Literal["z", "w"], method: Method) -> Directions:
        """Return directions with the mean and the standard deviations of codes (N, L)."""
        vectors = positive_signs(vectors)
        return cls(vectors, ((codes - codes.mean(0)) @ vectors.T).std(0), codes.mean(0), code, method)

    def shift(self, moves: Mapping[int, float]) -> Tensor:
        """Return the vector (L,) that moves a code by `moves`: standard deviations for each direction, by number.

        Numbers of directions start at 0.

        Raises:
            InputError: there is no direction with one of the numbers.
        """
        amounts = torch.zeros(len(self.vectors))
        for number, deviations in moves.items():
            if not 0 <= number < len(amounts):
                raise InputError(f"direction {number}: there are only directions 0 to {len(amounts) - 1}; choose one")
            amounts[number] = deviations
        return amounts * self.deviations @ self.vectors


class MovedGenerator(nn.Module):
    """Generator that adds a fixed vector to the code of each image.

    If the network has a w, the vector is added to w in all layers, after truncation. Truncation therefore does not
    change the size of a move. Otherwise, the vector is added to z.

    Args:
        network: generator, called as G(z, condition).
        shift: vector, (L,).
    """

    shift: Tensor

    def __init__(self, network: nn.Module, shift: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("shift", shift)

    def forward(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return images (B, C, H, W) for z (B, latent_size) and the condition."""
        if isinstance(self.network, StyleBased):
            return self.network.synthesize(self.network.styles(z, condition) + self.shift)
        return self.network(z + self.shift, condition)


def directions_file(generator: Path) -> Path:
    """Return the default path of the directions of a generator file: `directions.safetensors` in the same folder.

    If the generator file is not `generator.safetensors` but, for example, `best.safetensors`, the path is
    `best-directions.safetensors`.
    """
    prefix = "" if generator.stem == "generator" else f"{generator.stem}-"
    return generator.with_name(f"{prefix}directions.safetensors")


def has_other_tensors(path: Path) -> bool:
    """Return True if an existing safetensors file, such as a generator, contains other tensors than directions."""
    try:
        return read_tensors(path)[0].keys() != TENSORS
    except InputError:
        return False


def _is_complete(tensors: Mapping[str, Tensor], card: Any) -> bool:
    """Return True if the content of a safetensors file is the content of a file of directions."""
    if not isinstance(card, dict) or card.get("format") != FORMAT or not card.keys() >= {"generator", "method"}:
        return False
    if card.get("code") not in ("z", "w") or tensors.keys() != TENSORS:
        return False
    vectors, deviations, mean = (tensors[name] for name in ("directions", "deviations", "mean"))
    return vectors.dim() == 2 and vectors.shape == (*deviations.shape, *mean.shape)


def weights_hash(generator: nn.Module) -> str:
    """Return the SHA-256 hash of the parameters and buffers of a generator."""
    return hashlib.sha256(tensors_to_bytes(generator.state_dict())).hexdigest()


def save_directions(directions: Directions, path: Path, generator: nn.Module, **facts: Any) -> None:
    """Write a file with directions and with the hash of the generator to which they belong.

    `facts` are added to the metadata.
    """
    card = {
        "format": FORMAT,
        "code": directions.code,
        "method": directions.method,
        "generator": weights_hash(generator),
        **facts,
    }
    tensors = {"directions": directions.vectors, "deviations": directions.deviations, "mean": directions.mean}
    write_bytes(path, tensors_to_bytes(tensors, card))


def load_directions(path: str | Path, generator: nn.Module) -> Directions:
    """Return the directions in a file of `gankit directions`.

    Args:
        path: path of the file.
        generator: generator to which the directions must belong, such as `sampler.generator`.

    Raises:
        InputError: there is no such file, it contains no directions, or the directions belong to another generator.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file of directions {path}; `gankit directions FILE` writes one")
    tensors, card = read_tensors(path)
    if not _is_complete(tensors, card):
        raise InputError(f"{path}: is not a file of directions; write one with `gankit directions FILE`")
    if card["generator"] != weights_hash(generator):
        raise InputError(
            f"{path}: the directions belong to a generator with other weights; write them again with "
            "`gankit directions FILE`"
        )
    return Directions(tensors["directions"], tensors["deviations"], tensors["mean"], card["code"], card["method"])
