"""The processes that play one game together, and all that they tell one another.

torchrun starts them. Each is a rank: it has a slice of every batch, networks that are the same as everyone's, and
random numbers of its own. A process that was started alone is the only rank, and waits for nobody.
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

PATIENCE = timedelta(days=1)
"""How long a rank waits for another, which may be at work on an evaluation that it alone makes."""

SAME_END = 2.0
"""Seconds in which ranks that fail by the same cause all come to know of it."""

ROLL_CALL = 5.0
"""Seconds in which every rank that is still there hears that one has ended, and answers."""


class LostRankError(GankitError):
    """Another rank has ended, so that this one cannot go on."""


class Ranks:
    """This process among those that play one game together.

    Args:
        place: which of them it is.
        store: where each may leave a word for the others, even when they can no longer meet; None for the only one.
    """

    def __init__(self, place: Place = Place(), store: dist.Store | None = None) -> None:  # noqa: B008
        self.rank, self.size, self.local_rank, self.local_size = place
        self.store = store
        self.runs = 0
        """Games that were played in company; what is left in the store is of one of them."""

        self._depth = 0

    @classmethod
    def joined(cls, place: Place) -> Ranks:
        """Waits for all others. Small things go through the CPU, so that no GPU is waited for.

        Raises InputError when nothing says where they meet.
        """
        if place.size == 1:
            return cls()
        if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]:
            raise InputError(
                f"RANK={place.rank} WORLD_SIZE={place.size}, but {' and '.join(missing)} not set, so the ranks cannot "
                "meet; torchrun sets them all"
            )
        if torch.cuda.is_available() and place.local_rank < torch.cuda.device_count():
            torch.cuda.set_device(place.local_rank)
        store, rank, size = next(dist.rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=PATIENCE
        )
        atexit.register(_hang_up)
        return cls(place, dist.PrefixStore("gankit", store))

    def device(self, name: str) -> str:
        """The device of this rank, where the recipe's is `name`.

        Raises InputError when there is none for it.
        """
        if self.size == 1 or name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
            return name
        if name not in ("auto", "cuda"):
            raise InputError(
                f"train.device: {name!r} given; with several ranks each has a GPU of its own: say cuda, or cpu"
            )
        if self.local_rank >= torch.cuda.device_count():
            raise InputError(
                f"{self.local_size} ranks are on this machine, and it has {torch.cuda.device_count()} GPUs; start one "
                "for each, or say train.device=cpu"
            )
        return f"cuda:{self.local_rank}"

    def mean(self, x: Tensor) -> Tensor:
        """The mean over all ranks, the same everywhere, with gradients of any order; alone, x itself.

        Every rank must ask, at the same place: hooks that only the first rank calls must not.
        """
        return _Mean.apply(x) if self.size > 1 else x

    @torch.no_grad()
    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all ranks in the place of each tensor; all of them in one message."""
        tensors = list(tensors)
        flat = _summed(torch.cat([tensor.reshape(-1) for tensor in tensors])).div_(self.size)
        for tensor, piece in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(piece.view_as(tensor))

    @torch.no_grad()
    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Puts the first rank's in the place of each tensor."""
        if self.size > 1:
            for tensor in tensors:
                whole = tensor.contiguous()
                with _meeting():
                    dist.broadcast(whole, 0)
                tensor.copy_(whole)

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag if self.size == 1 else bool(_summed(torch.tensor(int(flag))).item())

    def all_gather(self, text: str) -> list[str]:
        """What each rank says, in their order."""
        if self.size == 1:
            return [text]
        padded, lengths = self._padded(text.encode())
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        with _meeting():
            dist.all_gather(gathered, padded)
        return [data.decode() for data in _cut(gathered, lengths)]

    def gather(self, data: bytes) -> list[bytes]:
        """What each rank has, in their order, on the first; nothing on the others."""
        if self.size == 1:
            return [data]
        padded, lengths = self._padded(data)
        gathered = [torch.empty_like(padded) for _ in range(self.size)] if self.rank == 0 else None
        with _meeting():
            dist.gather(padded, gathered, 0)
        return _cut(gathered, lengths) if gathered is not None else []

    def _padded(self, data: bytes) -> tuple[Tensor, list[int]]:
        """The bytes with zeros behind them, as long as the longest of all ranks, and the length of each rank's."""
        own = torch.tensor([len(data)])
        lengths = [torch.empty_like(own) for _ in range(self.size)]
        with _meeting():
            dist.all_gather(lengths, own)
        known = [int(length) for length in lengths]
        padded = torch.zeros(max(known), dtype=torch.uint8)
        padded[: len(data)] = torch.frombuffer(bytearray(data) or bytearray(1), dtype=torch.uint8)[: len(data)]
        return padded, known

    def run_on_all_ranks(self, act: Callable[[], T]) -> T:
        """What this rank makes of it. Where it fails on one rank it fails on all, and one of them says why.

        The first rank of a machine acts before its others, which then find what it has downloaded and prepared.
        """
        if self.size == 1:
            return act()
        made: list[T] = []
        for firsts_turn in (True, False):
            failure: Exception | None = None
            if (self.local_rank == 0) == firsts_turn:
                try:
                    made.append(act())
                except Exception as error:
                    failure = error
            self._agree(failure)
        return made[0]

    def _agree(self, failure: Exception | None) -> None:
        """Raises the failure, and on the ranks that have none an error that tells of the others'."""
        wrong_input = isinstance(failure, InputError)
        said = self.all_gather("" if failure is None else f"{wrong_input:d}{_in_words(failure)}")
        failed = [rank for rank, text in enumerate(said) if text]
        if not failed:
            return
        if failure is not None and (failed[0] == 0 or not isinstance(failure, GankitError)):
            raise failure
        kind, text = said[failed[0]][0], said[failed[0]][1:]
        as_one = InputError if kind == "1" else GankitError
        raise as_one(f"rank {failed[0]}: {text}" if failed[0] else text) from failure

    def check_same(self, facts: dict[str, Any]) -> None:
        """Raises InputError, on all ranks, that names the first fact in which one differs from the first rank.

        Args:
            facts: by name, as JSON has them.
        """
        if self.size == 1:
            return
        first, *others = (json.loads(text) for text in self.all_gather(json.dumps(facts)))
        for rank, theirs in enumerate(others, 1):
            if differing := [name for name in first | theirs if first.get(name) != theirs.get(name)]:
                name = differing[0]
                raise InputError(
                    f"rank {rank} would not play the same run: {name} is {theirs.get(name)} there, and "
                    f"{first.get(name)} where rank 0 is; every machine must have the same recipe, plugins and data, "
                    "and to resume, the same run directory"
                )

    @contextmanager
    def shared_failures(self) -> Iterator[None]:
        """What ends a game on one rank ends it on all, and each error says which rank is to tell it.

        Raises LostRankError on those that go on, with the rank that has ended and its cause, and GankitError in a
        process that such an end has parted from the others.
        """
        if self.size > 1 and self._depth == 0 and not dist.is_initialized():
            raise GankitError("the ranks have parted after an error and cannot meet again; start torchrun anew")
        self._depth += 1
        self.runs += self._depth == 1
        try:
            yield
        except Exception as error:
            if self.size == 1 or not dist.is_initialized():
                raise
            _outlive_torchrun()
            if isinstance(error, LostRankError):
                raise self._roll_call() from error
            self._leave(error)
            raise
        except KeyboardInterrupt:
            if self.size > 1 and dist.is_initialized():
                _outlive_torchrun()
                self._post("failed", "it was stopped at once")
                _hang_up()
            raise
        finally:
            self._depth -= 1

    @property
    def leave_at_once(self) -> Callable[[], NoReturn] | None:
        """What a second signal does where several ranks have to say how they end; None for the only one."""
        return _stop if self.size > 1 else None

    def _leave(self, error: Exception) -> None:
        """Leaves word of why this rank ends."""
        self._post("failed", _in_words(error))
        # What is wrong with all of them, a loss that is no number for instance, all notice; and one is to tell it.
        self._wait(SAME_END, lambda: all(self._posted("failed", rank) for rank in range(self.size)))
        _hang_up()
        if isinstance(error, GankitError):
            error.rank = 0 if self._posted("failed", 0) == self._posted("failed", self.rank) else self.rank
        else:
            error.add_note(f"This was rank {self.rank}.")

    def _roll_call(self) -> LostRankError:
        """Finds out who has ended, and why."""
        self._post("here", "yes")
        # Whoever waits for this rank is to notice too, and to answer.
        _hang_up()
        everyone = range(self.size)
        self._wait(ROLL_CALL, lambda: all(self._posted("here", r) or self._posted("failed", r) for r in everyone))
        here = [rank for rank in everyone if self._posted("here", rank)]
        gone = [f"rank {rank} has ended: {self._cause(rank)}" for rank in everyone if rank not in here]
        what = gone[0] if gone else "the ranks have lost touch with one another"
        error = LostRankError(f"{what}; `gankit resume` goes on from the last checkpoint, or begins anew")
        # A rank that could leave word tells its failure itself. Of the first's, that is enough.
        error.rank = 0 if self._posted("failed", 0) or not here else here[0]
        return error

    def _cause(self, rank: int) -> str:
        return self._posted("failed", rank) or "it left no word, so it was killed or its machine is gone"

    def _post(self, what: str, text: str) -> None:
        # Where torchrun itself is gone, nobody can be told.
        with suppress(RuntimeError):
            assert self.store is not None
            self.store.set(f"{self.runs}/{what}/{self.rank}", text)

    def _posted(self, what: str, rank: int) -> str | None:
        with suppress(RuntimeError):
            assert self.store is not None
            key = f"{self.runs}/{what}/{rank}"
            return self.store.get(key).decode() if self.store.check([key]) else None
        return None

    def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            time.sleep(0.05)


@cache
def current_ranks() -> Ranks:
    """The place of this process, which has the same one for as long as it lives."""
    return Ranks.joined(place_of_process())


ALONE = Ranks()
"""The only rank."""


class _Mean(torch.autograd.Function):
    """The mean over all ranks. With gradients it does what it does with values, so it can be differentiated again."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return _summed(x.detach().clone(memory_format=torch.contiguous_format)) / dist.get_world_size()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return _Mean.apply(gradient)


def mean_over_ranks(x: Tensor) -> Tensor:
    """`Ranks.mean`, for what cannot hold on to the ranks; there must be several."""
    return _Mean.apply(x)


def _summed(x: Tensor) -> Tensor:
    """The sum over all ranks, in place."""
    with _meeting():
        dist.all_reduce(x)
    return x


@contextmanager
def _meeting() -> Iterator[None]:
    """Raises LostRankError when another rank does not come, because it has ended."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(" ".join(str(error).split())[:200]) from error


def _cut(padded: list[Tensor], lengths: list[int]) -> list[bytes]:
    return [data[:length].numpy().tobytes() for data, length in zip(padded, lengths, strict=True)]


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _hang_up() -> None:
    """Lets go of the others, who notice if they wait for this rank."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _stop() -> NoReturn:
    """A first Ctrl-C torchrun passes on as it is, a second one as SIGTERM, which leaves no time to say anything."""
    _outlive_torchrun()
    raise KeyboardInterrupt


def _outlive_torchrun() -> None:
    """As soon as one rank has ended, torchrun ends the others, which still have to say why and to close their files.

    It passes Ctrl-C on too, to ranks that the terminal has told already.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
