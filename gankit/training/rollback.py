"""Rollback: return of a run to its last good checkpoint after NaN, infinity or a collapse.

`roll_back` writes a record to `rollbacks.json` and deletes the later checkpoints. The training loop then ends, and
`gankit.training.launch` resumes the run from the last good checkpoint. The record is applied when the run is resumed. A
rollback is therefore completed even if the process is killed in the middle of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gankit.errors import InputError
from gankit.runtime.rng import derived_seed, seed_all
from gankit.storage.atomic_io import write_json
from gankit.storage.checkpoint import newest_whole_checkpoint, verify
from gankit.storage.run_dir import RunDir
from gankit.training.run import TrainingRun


def roll_back(run: TrainingRun, directory: RunDir | None, reason: str, since: int) -> bool:
    """Prepare a rollback of a run to its last good checkpoint. Return False if no rollback is possible.

    All ranks call this function at the same iteration. Only the first rank has a run directory, and writes files.

    Args:
        run: run that cannot continue.
        directory: directory of the run, or None on all ranks except the first.
        reason: reason for the rollback, for the log and the terminal.
        since: the run returns to the newest checkpoint of this iteration or an earlier one.
    """
    if run.rollbacks >= run.recipe.train.rollbacks:
        return False
    return run.ranks.any(directory is not None and record_rollback(run, directory, reason, since))


def record_rollback(run: TrainingRun, directory: RunDir, reason: str, since: int) -> bool:
    """Add a record to `rollbacks.json`, and delete all checkpoints after the last good one.

    Return False and change nothing if there is no good checkpoint.
    """
    checkpoint = newest_until(directory, since)
    if checkpoint is None:
        run.warn(
            f"train.rollbacks: there is no checkpoint from iteration {since} or earlier, so the run cannot return; a "
            "higher output.keep_checkpoints keeps older ones"
        )
        return False
    to = int(checkpoint.name)
    best = run.best.to_json() if run.best is not None else None
    record = {"from": run.iteration, "to": to, "reason": reason, "best": best}
    # If the process is killed after this line, `complete_rollback` deletes the checkpoints when the run is resumed.
    write_json(directory.rollbacks_file, [*directory.read_rollbacks(), record])
    directory.discard_after(to)
    return True


def complete_rollback(directory: RunDir) -> None:
    """Delete the checkpoints after the newest rollback, if a process was killed before it had deleted them."""
    records = directory.read_rollbacks()
    checkpoint, _ = newest_whole_checkpoint(directory) if records else (None, [])
    if checkpoint is not None and verify(checkpoint).get("rollbacks", 0) < len(records):
        directory.discard_after(records[-1]["to"])


def newest_until(directory: RunDir, iteration: int) -> Path | None:
    """Return the newest undamaged checkpoint whose iteration is at most `iteration`, or None if there is none."""
    for checkpoint in reversed(directory.saved_checkpoints()):
        if int(checkpoint.name) <= iteration:
            try:
                verify(checkpoint)
            except InputError:
                continue
            return checkpoint
    return None


def apply_rollback(run: TrainingRun, record: Mapping[str, Any]) -> None:
    """Complete the newest rollback of a run whose state was restored from the checkpoint `record["to"]`.

    Set a new random seed. Keep the record of the best generator so far, even if that generator is from an iteration
    after the checkpoint.
    """
    seed_all(derived_seed(run.recipe.seed, f"rollback {run.rollbacks}/{run.ranks.rank}"))
    if run.best is not None:
        run.best = replace(run.best.restored(record["best"]), misses=0, evaluated=run.iteration)


def describe_rollback(run: TrainingRun, number: int, record: Mapping[str, Any]) -> str:
    """Return a sentence about a rollback. `number` counts the rollbacks of the run, from 1."""
    train = run.recipe.train
    return (
        f"rollback {number} of {train.rollbacks}: from iteration {record['from']} back to the checkpoint of iteration "
        f"{record['to']}, because {record['reason']}. From there, the learning rates are multiplied by "
        f"{train.rollback_factor**number:g}, and the order of the data and the random numbers are new"
    )
