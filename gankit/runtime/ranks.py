"""Ranks: the processes that train one run together, and their communication.

torchrun starts the processes. Each rank has a slice of every batch, the same networks as all others, and its own random
state. A process that was started alone is the only rank. For it, the collective operations return at once.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from gankit.errors import GankitError, InputError
from gankit.runtime.torchrun_env import Place, place_of_process

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(days=1)
"""Timeout of a collective operation. The other ranks wait while the first one computes metrics, maybe for hours."""

SHARED_FAILURE_SECONDS = 2.0
"""Longest wait for the other ranks to post their failure, before a rank reports its own."""

RESPONSE_SECONDS = 5.0
"""Longest wait for the messages of the other ranks after one of them has ended."""


class LostRankError(GankitError):
    """Another rank has ended, so this one cannot continue."""


class Ranks:
    """Rank of this process, and communication with the other ranks.

    Args:
        place: rank of this process, and number of ranks.
        store: key-value store for messages, which works even when collective operations fail. None for a single
            process.
    """

    def __init__(self, place: Place = Place(), store: dist.Store | None = None) -> None:  # noqa: B008
        self.rank, self.size, self.local_rank, self.local_size = place
        self.store = store
        self.run_number = 0
        """Number of runs that these ranks have started. It is part of each key in the store."""

        self._depth = 0

    @classmethod
    def connect(cls, place: Place) -> Ranks:
        """Wait for all other ranks and connect to them. Raise InputError if the first rank's address is not set."""
        if place.size == 1:
            return cls()
        if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
            raise InputError(
                f"RANK={place.rank} WORLD_SIZE={place.size}, but {' and '.join(missing)} is not set, so the ranks "
                "cannot connect; torchrun sets them all"
            )
        if torch.cuda.is_available() and place.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(place.local_rank)
        store, rank, size = next(dist.rendezvous("env://"))
        # Small messages use CPU tensors and gloo, so they do not wait for the GPU.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT
        )
        atexit.register(_disconnect)
        return cls(place, dist.PrefixStore("gankit", store))

    def device(self, name: str) -> str:
        """Return the device of this rank for the recipe's device `name`. Raise InputError if there is none."""
        if self.size == 1 or name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
            return name
        if name not in ("auto", "cuda"):
            raise InputError(f"train.device: {name!r} given; with several ranks it must be cuda, one GPU each, or cpu")
        if self.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"{self.local_size} ranks are on this machine, and it has {torch.cuda.device_count()} GPUs; start one "
                "rank for each GPU, or set train.device=cpu"
            )
        return f"cuda:{self.local_rank}"

    # Collective operations. All ranks must call them, in the same order.

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of x over all ranks, with gradients of any order. For a single process, return x itself.

        All ranks must call it. So it must not be called in hooks of the first rank only, such as `on_log`.
        """
        return _Mean.apply(x) if self.size > 1 else x

    @torch.no_grad()
    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks. All tensors are sent in one message."""
        tensors = list(tensors)
        flat = _sum_(torch.cat([tensor.reshape(-1) for tensor in tensors])).div_(self.size)
        for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    @torch.no_grad()
    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of the first rank."""
        if self.size > 1:
            for tensor in tensors:
                contiguous = tensor.contiguous()
                with _lost_rank_errors():
                    dist.broadcast(contiguous, 0)
                tensor.copy_(contiguous)

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""
        return flag if self.size == 1 else bool(_sum_(torch.tensor(int(flag))).item())

    def all_gather(self, text: str) -> list[str]:
        """Return the texts of all ranks, in the order of the ranks."""
        if self.size == 1:
            return [text]
        padded, lengths = self._pad(text.encode())
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        with _lost_rank_errors():
            dist.all_gather(gathered, padded)
        return [data.decode() for data in _unpad(gathered, lengths)]

    def gather(self, data: bytes) -> list[bytes]:
        """Return the data of all ranks on the first rank, in the order of the ranks. Return [] on the others."""
        if self.size == 1:
            return [data]
        padded, lengths = self._pad(data)
        gathered = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
        with _lost_rank_errors():
            dist.gather(padded, gathered, 0)
        return _unpad(gathered, lengths) if gathered is not None else []

    def _pad(self, data: bytes) -> tuple[Tensor, list[int]]:
        """Return the data, padded with zeros to the largest length of all ranks, and the length on each rank."""
        own = torch.tensor([len(data)])
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with _lost_rank_errors():
            dist.all_gather(gathered, own)
        lengths = [int(length) for length in gathered]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        # torch.frombuffer needs at least one byte.
        padded[: len(data)] = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: len(data)]
        return padded, lengths

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        """Call a function on all ranks and return its result on this rank. If it fails on one rank, raise on all.

        The first rank of a machine calls it before the others, so that they find the files that it downloads.
        """
        if self.size == 1:
            return act()
        results: list[T] = []
        for first_of_machine in (True, False):
            failure: Exception | None = None
            if (self.local_rank == 0) == first_of_machine:
                try:
                    results.append(act())
                except Exception as error:
                    failure = error
            self._raise_on_all(failure)
        return results[0]

    def _raise_on_all(self, failure: Exception | None) -> None:
        """Raise an error on all ranks if one has a failure: its own, or that of the first rank that has one."""
        # The text of a rank is empty without a failure. Otherwise it is a flag for InputError, and the message.
        flag = int(isinstance(failure, InputError))
        texts = self.all_gather("" if failure is None else f"{flag}{_message(failure)}")
        failed = [rank for rank, text in enumerate(texts) if text]
        if not failed:
            return
        # The same mistake usually fails on all ranks, and the first one reports it. An unexpected exception keeps its
        # traceback.
        if failure is not None and (failed[0] == 0 or not isinstance(failure, GankitError)):
            raise failure
        kind, text = texts[failed[0]][0], texts[failed[0]][1:]
        error_class = InputError if kind == "1" else GankitError
        raise error_class(f"rank {failed[0]}: {text}" if failed[0] else text) from failure

    def check_same(self, facts: dict[str, Any]) -> None:
        """Raise InputError on all ranks if a fact differs between ranks. `facts` are JSON values by name."""
        if self.size == 1:
            return
        first, *others = (json.loads(text) for text in self.all_gather(json.dumps(facts)))
        for rank, other in enumerate(others, 1):
            if differing := [name for name in first | other if first.get(name) != other.get(name)]:
                name = differing[0]
                raise InputError(
                    f"rank {rank} would train another run: {name} is {other.get(name)} there and {first.get(name)} on "
                    "rank 0; every machine must have the same recipe, plugins and data, and to resume, the same run "
                    "directory"
                )

    @contextmanager
    def shared_failures(self) -> Iterator[None]:
        """Make the block fail on all ranks if it fails on one. `error.rank` is the rank that reports the error.

        Raises:
            LostRankError: another rank has ended. The error names the rank and the cause.
            GankitError: the ranks have disconnected after an earlier failure in the same process.
        """
        if self.size > 1 and self._depth == 0 and not dist.is_initialized():
            raise GankitError("the ranks have disconnected after an error; start torchrun again")
        # Blocks may be nested, like `train` in `start`. Only the outermost one starts a new run.
        self._depth += 1
        self.run_number += self._depth == 1
        try:
            yield
        except Exception as error:
            # An inner block that has handled the error has destroyed the process group.
            if self.size == 1 or not dist.is_initialized():
                raise
            _ignore_signals()
            if isinstance(error, LostRankError):
                # A collective operation failed, because another rank has ended.
                raise self._lost_rank_error() from error
            self._leave(error)
            raise
        except KeyboardInterrupt:
            if self.size > 1 and dist.is_initialized():
                _ignore_signals()
                self._post("failed", "it was stopped at once")
                _disconnect()
            raise
        finally:
            self._depth -= 1

    @property
    def leave_at_once(self) -> Callable[[], NoReturn] | None:
        """Function that ends this rank at the second signal. None for a single process."""
        return _stop_at_once if self.size > 1 else None

    def _leave(self, error: Exception) -> None:
        """Post the cause of the failure, disconnect, and set the rank that reports it."""
        self._post("failed", _message(error))
        # A failure that all ranks share, such as a NaN loss, is reported once. Wait for the others to post theirs.
        self._wait(SHARED_FAILURE_SECONDS, lambda: all(self._posted("failed", rank) for rank in range(self.size)))
        # Ranks that wait for this one in a collective operation get a RuntimeError now.
        _disconnect()
        if isinstance(error, GankitError):
            # If the first rank failed with the same message, only the first rank reports it.
            error.rank = 0 if self._posted("failed", 0) == self._posted("failed", self.rank) else self.rank
        else:
            error.add_note(f"This was rank {self.rank}.")

    def _lost_rank_error(self) -> LostRankError:
        """Return the error that names the ranks that have ended, and why."""
        # Every running rank posts a message and disconnects, so that the failure reaches all ranks one after another.
        self._post("running", "yes")
        _disconnect()
        # A rank that has posted no message after this time was killed.
        ranks = range(self.size)
        self._wait(
            RESPONSE_SECONDS, lambda: all(self._posted("running", r) or self._posted("failed", r) for r in ranks)
        )
        running = [rank for rank in ranks if self._posted("running", rank)]
        ended = [f"rank {rank} has ended: {self._cause(rank)}" for rank in ranks if rank not in running]
        what = ended[0] if ended else "the connection between the ranks is lost"
        error = LostRankError(f"{what}; `gankit resume` continues from the last checkpoint, if there is one")
        # If the first rank has posted a failure, its report is enough. Otherwise the first running rank reports this
        # error.
        error.rank = 0 if self._posted("failed", 0) or not running else running[0]
        return error

    def _cause(self, rank: int) -> str:
        return self._posted("failed", rank) or "it left no message, so it was killed or its machine is gone"

    def _post(self, topic: str, text: str) -> None:
        # If torchrun has ended, the store no longer exists, and no rank needs the message.
        with suppress(RuntimeError):
            assert self.store is not None
            self.store.set(f"{self.run_number}/{topic}/{self.rank}", text)

    def _posted(self, topic: str, rank: int) -> str | None:
        """Return the message of a rank, or None if there is none."""
        with suppress(RuntimeError):
            assert self.store is not None
            key = f"{self.run_number}/{topic}/{rank}"
            # `get` blocks until the key exists, so check first.
            return self.store.get(key).decode() if self.store.check([key]) else None
        return None

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            time.sleep(0.05)


@cache
def current_ranks() -> Ranks:
    """Return the ranks of this process, always the same object."""
    return Ranks.connect(place_of_process())


ALONE = Ranks()
"""Ranks of a single process."""


class _Mean(torch.autograd.Function):
    """Mean over all ranks. Its gradient is the mean of the gradients, with gradients of any order."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _sum_(x.detach().clone(memory_format=torch.contiguous_format)) / dist.get_world_size()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Mean.apply(gradient)


def mean_over_ranks(x: Tensor) -> Tensor:
    """Return `Ranks.mean` of x, for code without access to the ranks, such as a layer. Needs several ranks."""
    return _Mean.apply(x)


def _sum_(x: Tensor) -> Tensor:
    """Replace x by its sum over all ranks, and return it."""
    with _lost_rank_errors():
        dist.all_reduce(x)
    return x


@contextmanager
def _lost_rank_errors() -> Iterator[None]:
    """Turn the RuntimeError of a collective operation into a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(" ".join(str(error).split())[:200]) from error


def _unpad(padded: list[Tensor], lengths: list[int]) -> list[bytes]:
    return [data[:length].numpy().tobytes() for data, length in zip(padded, lengths, strict=True)]


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


def _disconnect() -> None:
    """Destroy the process group. Ranks that wait for this one in a collective operation get an error."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _stop_at_once() -> NoReturn:
    # torchrun sends SIGTERM after the second Ctrl-C, which would end this rank before it can report.
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """Ignore further signals, so that this rank can report how it ended and close its files."""
    # When one rank has ended, torchrun sends SIGTERM to the others. A rank gets a Ctrl-C twice: from the terminal and
    # from torchrun.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
