"""Speed of a generator on this machine: latency and images per second, eager, compiled and with onnxruntime."""

from __future__ import annotations

import shutil
import statistics
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gankit.errors import GankitError, InputError
from gankit.runtime.rng import eval_mode, fork_rng
from gankit.runtime.timing import Loop, interleaved, timed
from gankit.sampling.export import draw_inputs, export, from_onnx, missing_onnx
from gankit.sampling.pruning import multiply_adds
from gankit.sampling.sampler import Sampler

BATCHES = (1, 16)
"""Default batch sizes."""

BACKENDS = ("eager", "compiled", "onnx")
"""Ways to run a generator: as it is, with torch.compile, and as an ONNX file with onnxruntime on the CPU."""

FEWEST, MOST = 20, 1000
"""Smallest and largest number of timed calls."""

WARM_UP = 3
"""Number of calls before the first timed call."""

COMPILERS = ("g++", "clang++", "c++", "cl")
"""C++ compilers, one of which torch.compile needs on a CPU."""


Generator = Callable[[Tensor, Tensor | None], Tensor]
"""Function that maps z (B, latent_size) and the condition to images (B, *shape)."""


class Latency(NamedTuple):
    """Time of a call of a generator."""

    backend: str
    batch: int
    """Number of images that one call generates."""

    median: float
    """Median time of a call, in seconds."""

    p95: float
    """95th percentile of the time of a call, in seconds."""

    @property
    def images_per_second(self) -> float:
        """Number of images in a second, from the median time."""
        return self.batch / self.median


class Speed(NamedTuple):
    """Result of `benchmark`."""

    rows: list[Latency]
    """Times, by batch size and backend."""

    left_out: list[str]
    """A sentence for each backend that is not available."""


class Size(NamedTuple):
    """Size of a generator."""

    bytes: int
    """Size of the generator file."""

    parameters: int
    """Number of parameters."""

    multiply_adds: int
    """Multiply-adds of linear layers, convolutions and matrix products, for one image."""


def size_of(sampler: Sampler, file: Path) -> Size:
    """Return the size of a generator and of its file."""
    parameters = sum(one.numel() for one in sampler.generator.parameters())
    inputs = sampler_inputs(sampler, 2)
    counts = multiply_adds(sampler.generator, lambda network: network(*inputs))
    return Size(file.stat().st_size, parameters, counts[""])


def benchmark(
    sampler: Sampler,
    batches: Sequence[int] = BATCHES,
    backends: Sequence[str] = BACKENDS,
    seconds: float = 3.0,
    preparing: Callable[[str], None] = lambda stage: None,
) -> Speed:
    """Measure the latency of a generator for some batch sizes and backends.

    The calls of all backends alternate in a random order, so that all of them share slow phases of the machine. A call
    begins with z on the device and ends when the images are computed. It does not include the conversion to 8 bits.

    Args:
        sampler: sampler with the generator.
        batches: numbers of images in a call.
        backends: names in `BACKENDS`.
        seconds: approximate measuring time for each batch size and backend. At least `FEWEST` calls are timed.
        preparing: function that is called with the name of each stage when the stage begins.
    """
    rows, left_out = [], []
    generators: dict[str, Generator] = {}
    with eval_mode(sampler.generator), fork_rng(sampler.device), torch.no_grad(), _no_warnings():
        for backend in backends:
            preparing(f"preparing {backend}")
            try:
                generators[backend] = _prepared(sampler, backend, batches)
            except GankitError as error:
                left_out.append(f"{backend}: left out, {error}")
        for batch in batches:
            preparing(f"batch size {batch}")
            inputs = sampler_inputs(sampler, batch)
            loops = {name: partial(_call, sampler, one, inputs) for name, one in generators.items()}
            rows += [Latency(name, batch, *times) for name, times in latencies(loops, seconds).items()]
    return Speed(rows, left_out)


def compare_latency(samplers: Sequence[Sampler], batch: int, seconds: float = 1.0) -> list[Latency]:
    """Measure the latency of several generators, whose calls alternate. The arguments are those of `benchmark`."""
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        loops: dict[str, Loop] = {}
        for number, sampler in enumerate(samplers):
            stack.enter_context(eval_mode(sampler.generator))
            stack.enter_context(fork_rng(sampler.device))
            loops[str(number)] = partial(_call, sampler, sampler.generator, sampler_inputs(sampler, batch))
        return [Latency("eager", batch, *times) for times in latencies(loops, seconds).values()]


def latencies(loops: Mapping[str, Loop], seconds: float) -> dict[str, tuple[float, float]]:
    """Return the median and the 95th percentile of the time of each loop, in seconds.

    Args:
        loops: functions by name. Their calls alternate in a random order.
        seconds: approximate measuring time for each function.
    """
    if not loops:
        return {}
    for loop in loops.values():
        loop()
    slowest = max(timed(loop, 1)[0] for loop in loops.values())
    calls = min(MOST, max(FEWEST, int(seconds / max(slowest, 1e-9))))
    rounds = interleaved(loops, calls, warm_up=WARM_UP)
    return {name: (statistics.median(t), statistics.quantiles(t, n=20)[-1]) for name, t in rounds.wall.items()}


def sampler_inputs(sampler: Sampler, count: int) -> tuple[Tensor, Tensor | None]:
    """Return z and the condition of some random images, on the device of the generator."""
    z, *condition = draw_inputs(sampler, count, seed=0)
    return sampler.inputs(z, condition[0] if condition else None)


def _call(sampler: Sampler, generator: Generator, inputs: tuple[Tensor, Tensor | None]) -> None:
    """Generate images, and wait until the device has finished."""
    generator(*inputs)
    if sampler.device.type != "cpu":
        torch.accelerator.synchronize(sampler.device)


def _prepared(sampler: Sampler, backend: str, batches: Sequence[int]) -> Generator:
    """Return a function that generates images with a backend.

    Raises:
        GankitError: the backend is not available, or cannot run the generator.
    """
    if backend == "eager":
        return sampler.generator
    if backend == "compiled":
        return _compiled(sampler, batches)
    if sampler.device.type != "cpu":
        raise InputError(f"onnxruntime is timed only on the CPU, and the generator is on {sampler.device}")
    if (missing := missing_onnx()) is not None:
        raise InputError(missing)
    function = from_onnx(export(sampler, "onnx", {}).data)
    return lambda z, condition: function(z) if condition is None else function(z, condition)


def _compiled(sampler: Sampler, batches: Sequence[int]) -> Generator:
    """Return the generator after torch.compile, which is called once for each batch size."""
    if sampler.device.type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise InputError(f"torch.compile needs a C++ compiler, and none is installed; install {COMPILERS[0]}")
    torch._dynamo.reset()
    compiled: Generator = torch.compile(sampler.generator, dynamic=False)
    try:
        for batch in batches:
            compiled(*sampler_inputs(sampler, batch))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"torch.compile cannot compile the generator: {type(error).__name__}: {reason}") from error
    return compiled


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Hide warnings, such as those of torch.compile."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
