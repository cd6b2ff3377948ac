"""Record of the rows that a logger has sent to a service. With this record, a resumed run sends no row twice."""

from __future__ import annotations

import json
import os
from pathlib import Path


class UploadState:
    """Record of the rows and images that a service already has, in a file of the run directory.

    A killed run resumes from its last checkpoint, and trains the iterations after this checkpoint again. The service
    may already have the rows of these iterations, so the record prevents sending them twice. The record is not in the
    checkpoint, because the checkpoint is older than these rows.

    Args:
        file: path of the record; missing folders of this path are created.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        state = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        self.run_id: str | None = state.get("run")
        """Identifier of the run in the service, or None if the run does not have an identifier yet."""

        self.count: int = state.get("count", 0)
        """Number of rows and images sent so far."""

        self.last: dict[str, int] = state.get("last", {})
        """Iteration of the last row or image that was sent, for each kind: `loss`, `metrics` or `grid`."""

    def set_run_id(self, run_id: str) -> str:
        """Store the run's identifier, and return it."""
        self.run_id = run_id
        self._save()
        return run_id

    def lacks(self, kind: str, iteration: int) -> bool:
        """Return True if the row or image of the given kind and iteration has not been sent yet."""
        return iteration > self.last.get(kind, -1)

    def record(self, kind: str, iteration: int) -> None:
        """Record that the row or image of the given kind and iteration was sent."""
        self.last[kind] = iteration
        self.count += 1
        self._save()

    def _save(self) -> None:
        temporary = self.file.with_name(f".tmp-{self.file.name}")
        temporary.write_text(json.dumps({"run": self.run_id, "count": self.count, "last": self.last}), encoding="utf-8")
        os.replace(temporary, self.file)
