"""Ranks: the processes that train one run together, and their communication.

torchrun starts the processes. Each rank has a copy of the networks and its own random state, and trains on a part of
every batch. A process that was started without torchrun is the only rank and needs no communication.
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
from gankit.runtime.signals import SIGNALS
from gankit.runtime.torchrun_env import Place, place_of_process

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(days=1)
"""Timeout of collective operations. The timeout is long, because the other ranks wait while rank 0 computes metrics."""

SHARED_FAILURE_SECONDS = 2.0
"""Maximum time in seconds that a failed rank waits for error messages from the other ranks."""

RESPONSE_SECONDS = 5.0
"""Maximum time in seconds that a rank waits for messages from the other ranks after a rank has ended."""


class LostRankError(GankitError):
    """Error raised on a rank that cannot continue because another rank has ended."""


class Ranks:
    """Rank of this process, and its communication with the other ranks.

    Args:
        place: rank of this process and number of ranks, in the whole run and on this machine.
        store: key-value store for messages about failures. The store works even when collective operations fail. None
            for a single process.
    """

    def __init__(self, place: Place = Place(), store: dist.Store | None = None) -> None:  # noqa: B008
        self.rank, self.size, self.local_rank, self.local_size = place
        self.store = store
        self.run_number = 0
        """Number of the current run. Keys in the store contain this number, so messages of earlier runs are ignored."""

        self._depth = 0

    @classmethod
    def connect(cls, place: Place) -> Ranks:
        """Connect to the other ranks, and return the `Ranks` object of this process.

        The call waits until all ranks are connected.

        Raises:
            InputError: the environment variable `MASTER_ADDR` or `MASTER_PORT`, set by torchrun, is missing.
        """
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
        # Use gloo for CPU tensors. Short messages are CPU tensors, so sending a message does not wait for GPU kernels.
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=COLLECTIVE_TIMEOUT
        )
        atexit.register(_disconnect)
        return cls(place, dist.PrefixStore("gankit", store))

    def device(self, name: str) -> str:
        """Return the name of this rank's device, such as `cuda:1`.

        `name` is the setting `train.device` of the recipe, such as `auto`. If there is only one process, return `name`
        unchanged.

        Raises:
            InputError: the device cannot be used with several ranks, or there is no GPU for this rank.
        """
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

    # The following methods are collective operations: all ranks must call them in the same order.

    def mean(self, x: Tensor) -> Tensor:
        """Return the mean of x over all ranks. The operation can be differentiated any number of times.

        All ranks must call this method, so do not call it in hooks that run only on rank 0, such as `on_log`. In a run
        with a single process, the result is x itself.
        """
        return _Mean.apply(x) if self.size > 1 else x

    @torch.no_grad()
    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, in place. Call this method only with several ranks.

        All tensors are sent in a single collective operation.
        """
        tensors = list(tensors)
        flat = _sum_(torch.cat([tensor.reshape(-1) for tensor in tensors])).div_(self.size)
        for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    @torch.no_grad()
    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor on all ranks by its value on rank 0, in place."""
        if self.size > 1:
            for tensor in tensors:
                contiguous = tensor.contiguous()
                with _lost_rank_errors():
                    dist.broadcast(contiguous, 0)
                tensor.copy_(contiguous)

    def any(self, flag: bool) -> bool:
        """Return True on all ranks if `flag` is true on at least one rank."""
        return flag if self.size == 1 else bool(_sum_(torch.tensor(int(flag))).item())

    def all_gather(self, text: str) -> list[str]:
        """Collect the `text` of each rank, and return the list of texts on all ranks, in the order of the ranks."""
        if self.size == 1:
            return [text]
        padded, lengths = self._pad(text.encode())
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        with _lost_rank_errors():
            dist.all_gather(gathered, padded)
        return [data.decode() for data in _unpad(gathered, lengths)]

    def gather(self, data: bytes) -> list[bytes]:
        """Collect the `data` of all ranks on rank 0.

        Rank 0 returns a list with the data of all ranks, in the order of the ranks. Other ranks return an empty list.
        """
        if self.size == 1:
            return [data]
        padded, lengths = self._pad(data)
        gathered = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
        with _lost_rank_errors():
            dist.gather(padded, gathered, 0)
        return _unpad(gathered, lengths) if gathered is not None else []

    def _pad(self, data: bytes) -> tuple[Tensor, list[int]]:
        """Return `data` as a uint8 tensor, and a list with the length of each rank's `data` in bytes.

        The tensor is padded with zeros to the largest length, because collective operations need tensors of equal size.
        """
        own = torch.tensor([len(data)])
        gathered = [torch.empty_like(own) for _ in range(self.size)]
        with _lost_rank_errors():
            dist.all_gather(gathered, own)
        lengths = [int(length) for length in gathered]
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        # torch.frombuffer does not accept an empty buffer. If the data are empty, convert one byte, which the slice
        # then removes.
        padded[: len(data)] = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: len(data)]
        return padded, lengths

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        """Call a function on all ranks and return this rank's result. If one call fails, all ranks raise an error.

        On each machine, the first rank calls the function before the other ranks. If the function downloads files, the
        other ranks can then use these files.
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
        """Raise an error on all ranks if at least one rank has failed.

        Each rank raises either its own error or the error of the lowest rank that has failed.
        """
        # A rank without an error sends an empty text. A failed rank sends `1` for an InputError or `0` for another
        # error, followed by the error message.
        flag = int(isinstance(failure, InputError))
        texts = self.all_gather("" if failure is None else f"{flag}{_message(failure)}")
        failed = [rank for rank, text in enumerate(texts) if text]
        if not failed:
            return
        # A user's mistake usually causes an error on all ranks. Then each rank raises its own error, and rank 0 reports
        # the mistake. Unexpected exceptions are always raised unchanged, to keep their traceback.
        if failure is not None and (failed[0] == 0 or not isinstance(failure, GankitError)):
            raise failure
        kind, text = texts[failed[0]][0], texts[failed[0]][1:]
        error_class = InputError if kind == "1" else GankitError
        raise error_class(f"rank {failed[0]}: {text}" if failed[0] else text) from failure

    def check_same(self, facts: dict[str, Any]) -> None:
        """Check that `facts`, a dict of JSON values such as settings, is equal on all ranks.

        Raises:
            InputError: a value differs. The error is raised on all ranks.
        """
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
        """Run the `with` block. If the block fails on one rank, raise an error on all ranks.

        The attribute `rank` of the error is the number of the rank that reports the error to the user.

        Raises:
            LostRankError: another rank has ended. The error names the rank and the cause.
            GankitError: the ranks are no longer connected, because of an earlier failure.
        """
        if self.size > 1 and self._depth == 0 and not dist.is_initialized():
            raise GankitError("the ranks have disconnected after an error; start torchrun again")
        # `with` blocks of this method may be nested, for example when `start` calls `train`. Only the outermost block
        # counts as a new run.
        self._depth += 1
        self.run_number += self._depth == 1
        try:
            yield
        except Exception as error:
            # If the process group no longer exists, an inner `with` block has already handled this error.
            if self.size == 1 or not dist.is_initialized():
                raise
            _ignore_signals()
            if isinstance(error, LostRankError):
                # A collective operation failed on this rank because another rank has ended.
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
        """Function that a signal handler calls at the second Ctrl-C or SIGTERM to end this rank immediately.

        None for a run with a single process.
        """
        return _stop_at_once if self.size > 1 else None

    def _leave(self, error: Exception) -> None:
        """Send the error message to the other ranks and disconnect.

        Set `error.rank` to the number of the rank that reports the error to the user.
        """
        self._post("failed", _message(error))
        # Wait for the messages of the other ranks, so that an error on all ranks, such as a NaN loss, is reported once.
        self._wait(SHARED_FAILURE_SECONDS, lambda: all(self._posted("failed", rank) for rank in range(self.size)))
        # After this call, ranks that wait for this rank in a collective operation get a RuntimeError.
        _disconnect()
        if isinstance(error, GankitError):
            # If rank 0 failed with the same message, only rank 0 reports the error.
            error.rank = 0 if self._posted("failed", 0) == self._posted("failed", self.rank) else self.rank
        else:
            error.add_note(f"This was rank {self.rank}.")

    def _lost_rank_error(self) -> LostRankError:
        """Disconnect this rank, and return an error that names a rank that has ended, and the reason.

        If several ranks have ended, the error names the one with the lowest number.
        """
        # Disconnect, so that the ranks that wait for this rank also fail and detect the error.
        self._post("running", "yes")
        _disconnect()
        # If a rank has posted no message after `RESPONSE_SECONDS` seconds, assume that this rank was killed.
        ranks = range(self.size)
        self._wait(
            RESPONSE_SECONDS, lambda: all(self._posted("running", r) or self._posted("failed", r) for r in ranks)
        )
        running = [rank for rank in ranks if self._posted("running", rank)]
        ended = [f"rank {rank} has ended: {self._cause(rank)}" for rank in ranks if rank not in running]
        what = ended[0] if ended else "the connection between the ranks is lost"
        error = LostRankError(f"{what}; `gankit resume` continues from the last checkpoint, if there is one")
        # If rank 0 has failed, only rank 0 reports an error. Otherwise the first running rank reports this error.
        error.rank = 0 if self._posted("failed", 0) or not running else running[0]
        return error

    def _cause(self, rank: int) -> str:
        return self._posted("failed", rank) or "it left no message, so it was killed or its machine is gone"

    def _post(self, topic: str, text: str) -> None:
        # If torchrun has ended, the store no longer exists, and `store.set` fails. Ignore this error, because no rank
        # needs the message.
        with suppress(RuntimeError):
            assert self.store is not None
            self.store.set(f"{self.run_number}/{topic}/{self.rank}", text)

    def _posted(self, topic: str, rank: int) -> str | None:
        """Return the message that a rank has posted for a topic, such as `failed`, or None if there is no message."""
        with suppress(RuntimeError):
            assert self.store is not None
            key = f"{self.run_number}/{topic}/{rank}"
            # `store.get` waits until the key exists, so call `store.check` before `store.get`.
            return self.store.get(key).decode() if self.store.check([key]) else None
        return None

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            time.sleep(0.05)


@cache
def current_ranks() -> Ranks:
    """Return the `Ranks` of this process. The first call connects to the other ranks."""
    return Ranks.connect(place_of_process())


ALONE = Ranks()
"""`Ranks` object for a run with a single process, which needs no communication."""


class _Mean(torch.autograd.Function):
    """Mean of a tensor over all ranks. Its backward pass averages the gradients, and can be differentiated too."""

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
    """Return the mean of x over all ranks, like the method `Ranks.mean`. Call this function only with several ranks.

    Network layers use this function, because they have no `Ranks` object.
    """
    return _Mean.apply(x)


def _sum_(x: Tensor) -> Tensor:
    """Replace x by its sum over all ranks, in place, and return x."""
    with _lost_rank_errors():
        dist.all_reduce(x)
    return x


@contextmanager
def _lost_rank_errors() -> Iterator[None]:
    """Convert a RuntimeError of a collective operation in the `with` block to a LostRankError."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(" ".join(str(error).split())[:200]) from error


def _unpad(padded: list[Tensor], lengths: list[int]) -> list[bytes]:
    return [data[:length].numpy().tobytes() for data, length in zip(padded, lengths, strict=True)]


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__


def _disconnect() -> None:
    """Destroy torch's process group. Ranks that wait for this rank in a collective operation then get an error."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _stop_at_once() -> NoReturn:
    # After the second Ctrl-C, torchrun sends SIGTERM. This signal would end this rank before the rank has sent its last
    # message to the other ranks.
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """Ignore further signals, so that this rank can report how it ended and close its files."""
    # When one rank has ended, torchrun sends SIGTERM to the other ranks. Also, each rank receives every Ctrl-C twice:
    # from the terminal and from torchrun.
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
