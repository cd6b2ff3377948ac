"""Export of a generator to ONNX, TorchScript or torch.export, with a comparison of the file and the network."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gankit.errors import GankitError, InputError
from gankit.plugin.condition import ClassCondition
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.sampling.sampler import Sampler
from gankit.version import __version__

BATCHES = (1, 2, 5)
"""Batch sizes for which the exported file is compared with the network."""

TRACED = 3
"""Batch size of the inputs for which the graph is recorded. It must be above 1, and not a size in `BATCHES`."""

TOLERANCE = 1e-3
"""Largest allowed difference of a pixel in [-1, 1]. The distance between two grey levels is 2/255, about 0.008."""

NOTE = "gankit.json"
"""Name of the extra file with the note, in TorchScript and torch.export files."""

Note = dict[str, Any]
"""Description of the exported function, as JSON values: its inputs, its output, and its origin."""

Inputs = tuple[Tensor, ...]
"""Inputs of the exported function: z (B, latent_size) and, for a conditional generator, the condition (B, ...)."""

Function = Callable[..., Tensor]
"""Exported function. It maps `Inputs` to images (B, *shape) in [-1, 1]."""


class ConstantNoise(TorchFunctionMode):
    """Mode in which a network gets the same random numbers in every call, and for all images of a batch.

    The first call of the network draws the random numbers. In an exported graph, they are constants, so equal inputs
    give equal images.
    """

    SOURCES: ClassVar[dict[Any, Callable[..., Tensor]]] = {
        torch.randn: torch.randn,
        torch.randn_like: torch.randn,
        torch.rand: torch.rand,
        torch.rand_like: torch.rand,
    }
    """Functions of torch that are replaced, with the function that draws the same numbers for a given shape."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[Tensor] = []
        self.position = 0

    def __enter__(self) -> ConstantNoise:
        self.position = 0
        super().__enter__()
        return self

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function not in self.SOURCES or not args:
            return function(*args, **(kwargs or {}))
        first = args[0]
        size = first.shape if isinstance(first, Tensor) and first.dim() else first if len(args) == 1 else args
        if self.position == len(self.drawn):
            like = {"dtype": first.dtype, "device": first.device} if isinstance(first, Tensor) else {}
            self.drawn.append(self.SOURCES[function](1, *size[1:], **(like | (kwargs or {}))))
        row = self.drawn[self.position]
        self.position += 1
        return row.expand(size[0], *row.shape[1:])


class ExportedGenerator(nn.Module):
    """Function that is exported: the generator as it draws samples, with constant noise, and with float32 images."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.noise = ConstantNoise()

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return images (B, *shape) in [-1, 1] for z (B, latent_size) and labels (B,), or another condition."""
        with self.noise:
            images = self.generator(z, labels)
        return images.float()


def draw_inputs(sampler: Sampler, count: int, seed: int) -> Inputs:
    """Draw inputs of the exported function: z from the prior and, if the generator takes a condition, a random one."""
    if sampler.condition is None:
        return (sampler.latent(count, None, seed),)
    condition = sampler.condition.blank(count)
    randomness = torch.Generator().manual_seed(seed)
    if isinstance(sampler.condition, ClassCondition):
        condition = torch.randint(len(sampler.class_names), (count,), generator=randomness)
    elif condition.is_floating_point():
        condition = 2 * torch.rand(condition.shape, generator=randomness) - 1
    return sampler.latent(count, condition, seed), condition


def note_of(sampler: Sampler) -> Note:
    """Return the note: recipe, iteration, versions, and the meaning of the inputs and of the output."""
    card, spec = sampler.card, sampler.spec
    prior = card["recipe"]["latent"]
    prior = prior if isinstance(prior, str) else prior["use"]
    inputs = {"z": f"float32 (batch, {spec.latent_size}), drawn from the prior {prior}"}
    if sampler.condition is not None:
        dtype = str(sampler.condition.dtype).removeprefix("torch.")
        shape = ", ".join(["batch", *map(str, sampler.condition.shape)])
        shape = f"({shape})" if sampler.condition.shape else f"({shape},)"
        inputs[name_of_condition(sampler)] = f"{dtype} {shape}, {sampler.condition.describe()}"
    return {
        "recipe": card["recipe"].get("name", ""),
        "iteration": card["iteration"],
        "gankit": __version__,
        "torch": torch.__version__,
        "inputs": inputs,
        "output": f"images: float32 ({', '.join(['batch', *map(str, spec.shape)])}), values in [-1, 1]",
        "class_names": list(sampler.class_names),
    }


def name_of_condition(sampler: Sampler) -> str:
    """Return the name of the second input: `labels` for classes, otherwise `condition`."""
    return "labels" if sampler.class_names else "condition"


# Formats: functions that write a graph as bytes, and functions that load it again


def batch_dims(inputs: Inputs) -> tuple[dict[int, Any], ...]:
    """Return the free dimensions of each input, as torch.export takes them: the first one, with a common size."""
    batch = torch.export.Dim("batch")
    return tuple({0: batch} for _ in inputs)


def to_torch_export(network: nn.Module, inputs: Inputs, names: list[str], note: Note) -> bytes:
    """Return a network in the format of torch.export (.pt2)."""
    program, file = torch.export.export(network, inputs, dynamic_shapes=batch_dims(inputs), strict=False), io.BytesIO()
    torch.export.save(program, file, extra_files={NOTE: json.dumps(note)})
    return file.getvalue()


def to_torchscript(network: nn.Module, inputs: Inputs, names: list[str], note: Note) -> bytes:
    """Return a network in the format of TorchScript."""
    traced, file = torch.jit.trace(network, inputs, check_trace=False), io.BytesIO()
    torch.jit.save(traced, file, _extra_files={NOTE: json.dumps(note).encode()})
    return file.getvalue()


def to_onnx(network: nn.Module, inputs: Inputs, names: list[str], note: Note) -> bytes:
    """Return a network in ONNX format. The opset is added to the note."""
    program = torch.onnx.export(
        network,
        inputs,
        input_names=names,
        output_names=["images"],
        dynamic_shapes=batch_dims(inputs),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    note["opset"] = program.model.opset_imports[""]
    program.model.metadata_props["gankit"] = json.dumps(note)
    return program.model_proto.SerializeToString()


def from_torch_export(data: bytes) -> Function:
    """Load a file that `to_torch_export` has written."""
    return torch.export.load(io.BytesIO(data)).module()


def from_torchscript(data: bytes) -> Function:
    """Load a file that `to_torchscript` has written."""
    return torch.jit.load(io.BytesIO(data))


def from_onnx(data: bytes) -> Function:
    """Load a file that `to_onnx` has written, with onnxruntime on the CPU, with as many threads as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def call(*inputs: Tensor) -> Tensor:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, arrays)[0])

    return call


class Format(NamedTuple):
    """File format for export: suffix, a function that writes a graph as bytes, and a function that loads it again."""

    suffix: str
    write: Callable[[nn.Module, Inputs, list[str], Note], bytes]
    load: Callable[[bytes], Function]


FORMATS = {
    "onnx": Format(".onnx", to_onnx, from_onnx),
    "torchscript": Format(".pt", to_torchscript, from_torchscript),
    "torch-export": Format(".pt2", to_torch_export, from_torch_export),
}


def missing_onnx() -> str | None:
    """Return a sentence that names a missing package that ONNX files need, or None if there is none."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed; run `pip install 'gankit[onnx]'`"
    return None


def require_onnx() -> None:
    """Raise InputError if a package that the export to ONNX needs is missing."""
    if (missing := missing_onnx()) is not None:
        raise InputError(f"--onnx: {missing}, or choose --torch-export")


class Export(NamedTuple):
    """Result of an export: the content of the file, its note, and the largest difference from the network."""

    data: bytes
    note: Note
    difference: float


def export(sampler: Sampler, name: str, facts: Note) -> Export:
    """Export a generator, load the result again, and compare its images with those of the network.

    Args:
        sampler: sampler of a generator file, on the CPU.
        name: name of the format, a key of `FORMATS`.
        facts: further entries of the note.

    Raises:
        InputError: the generator cannot be exported, because of its batch size or its random numbers.
        GankitError: the images differ by more than `TOLERANCE`.
    """
    form, network, note = FORMATS[name], ExportedGenerator(sampler.generator), note_of(sampler) | facts
    names = ["z", name_of_condition(sampler)]
    with eval_mode(network), torch.no_grad(), _quiet():
        inputs = draw_inputs(sampler, TRACED, seed=0)
        with fork_rng(sampler.device):
            network(*inputs)
        _refuse_random(network, inputs, sampler.device)
        try:
            data = form.write(network, inputs, names[: len(inputs)], note)
            function = form.load(data)
            differences = [difference_of(function, network, draw_inputs(sampler, n, seed=n)) for n in BATCHES]
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"--{name}: the generator cannot be exported for every batch size; use x.shape[0] instead of len(x) in "
                f"its code, and no sizes that depend on values: {type(error).__name__}: {reason}"
            ) from error
    difference = torch.tensor(differences).max().item()  # NaN if a difference is NaN
    if not difference <= TOLERANCE:
        raise GankitError(
            f"--{name}: the images of the exported file differ from those of the network by up to {difference:.1e}, "
            f"and {TOLERANCE:.0e} is allowed; no file is written"
        )
    return Export(data, note, difference)


def difference_of(function: Function, network: Function, inputs: Inputs) -> float:
    """Return the largest absolute difference of a pixel in [-1, 1]. It is NaN if an image contains NaN.

    Raises:
        ValueError: the functions return images of different shapes.
    """
    images, expected = function(*inputs), network(*inputs)
    if images.shape != expected.shape:
        raise ValueError(f"the images have shape {tuple(images.shape)} instead of {tuple(expected.shape)}")
    return (images - expected).abs().max().item()


def _refuse_random(network: Function, inputs: Inputs, device: torch.device) -> None:
    """Raise InputError if two calls of a network return different images."""
    results = []
    for seed in (0, 1):
        with fork_rng(device, seed):
            results.append(network(*inputs))
    first, second = results
    if not torch.allclose(first, second, rtol=0, atol=0, equal_nan=True):
        raise InputError(
            "the generator draws random numbers that cannot be exported; draw them with torch.randn or torch.rand"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings and log messages of torch and onnxscript, such as those about deprecated functions."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
