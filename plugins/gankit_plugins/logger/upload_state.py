"""What was sent to a service that takes nothing back, so that a resumed run sends nothing twice."""

from __future__ import annotations

import json
import os
from pathlib import Path


class Sent:
    """A file in the run directory, and not the checkpoint: it is about what the service has, not about the game.

    A run that is killed goes on from its checkpoint and plays some iterations a second time. Resume is exact, so what
    they bring has been sent already.

    Args:
        file: where; its folder is made.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        state = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self.run: str | None = state.get("run")
        """What the service calls the run; None before it has one."""

        self.count: int = state.get("count", 0)
        """Rows and pictures sent."""

        self.last: dict[str, int] = state.get("last", {})
        """The last iteration sent, for each kind of rows and for pictures."""

    def named(self, run: str) -> str:
        """Keeps the run's name."""
        self.run = run
        self._save()
        return run

    def lacks(self, stream: str, iteration: int) -> bool:
        return iteration > self.last.get(stream, -1)

    def note(self, stream: str, iteration: int) -> None:
        """It has been sent."""
        self.last[stream] = iteration
        self.count += 1
        self._save()

    def _save(self) -> None:
        beside = self.file.with_name(f".tmp-{self.file.name}")
        beside.write_text(json.dumps({"run": self.run, "count": self.count, "last": self.last}), encoding="utf-8")
        os.replace(beside, self.file)
