"""A study's folder: what was asked, a recipe for each variant, a run directory for each variant and seed.

runs/gaussian_ring/ablation/
  study.json  recipe.toml  without-r1.toml
  recipe/seed-0/          a run directory, and in it outcome.json once the run is over
  recipe/seed-0.log       what the process of that run wrote, if it wrote anything
  without-r1/seed-0/
  table.md  table.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gankit.ablation.variants import Variant
from gankit.errors import InputError
from gankit.recipe.diff import differing, flattened
from gankit.recipe.recipe import Recipe
from gankit.recipe.toml import Raw
from gankit.storage.atomic_io import TEMPORARY, disk_errors, write_text
from gankit.storage.lock import Lock
from gankit.storage.provenance import changed_plugins, plugin_record
from gankit.storage.run_dir import RunDir
from gankit.version import __version__


@dataclass(frozen=True)
class StudyRun:
    """One run of a study."""

    variant: Variant
    seed: int
    study: Path

    @property
    def path(self) -> Path:
        """Its run directory."""
        return self.study / self.variant.folder / f"seed-{self.seed}"

    @property
    def recipe_file(self) -> Path:
        return self.study / f"{self.variant.folder}.toml"

    @property
    def said_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def outcome_file(self) -> Path:
        return self.path / "outcome.json"

    @property
    def name(self) -> str:
        """`without r1, seed 0`."""
        return f"{self.variant.name}, seed {self.seed}"

    def outcome(self) -> dict[str, Any] | None:
        """How it ended: `iterations`, `stop_reason` and `broke_down`; None while it has not."""
        try:
            outcome: dict[str, Any] = json.loads(self.outcome_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return outcome


class Study:
    """A study that is on disk.

    Args:
        path: its folder.
        variants: the first is what the others are compared with.
        seeds: each variant is played with each of them.
        threads: of each run's process. On record, since sums depend on it.
    """

    def __init__(self, path: Path, variants: list[Variant], seeds: list[int], threads: int) -> None:
        self.path, self.variants, self.seeds, self.threads = path, variants, seeds, threads
        self._lock = Lock(path, "study")

    @property
    def runs(self) -> list[StudyRun]:
        """All of them, seed by seed: cut short, a study has whole pairs to compare."""
        return [StudyRun(variant, seed, self.path) for seed in self.seeds for variant in self.variants]

    @property
    def base(self) -> Variant:
        return self.variants[0]

    @staticmethod
    def is_one(path: Path) -> bool:
        return (path / "study.json").is_file()

    @classmethod
    def open(cls, path: Path) -> Study:
        """A study as it was asked for.

        A plugin may have been mended, as long as no run with it is over.

        Raises InputError when a run is over that was played with another plugin than there is now.
        """
        record = json.loads((path / "study.json").read_text(encoding="utf-8"))
        variants = []
        for one in record["variants"]:
            source = path / f"{one['folder']}.toml"
            recipe = Recipe.from_dict(one["recipe"], source=source, recorded=one["plugins"])
            variants.append(Variant(one["folder"], one["trick"], one["adds"], recipe))
        study = cls(path, variants, record["seeds"], record["threads"])
        now = {variant: plugin_record(variant.recipe.components) for variant in variants}
        for run in study.runs:
            before = RunDir(run.path).read_last_environment()
            if run.outcome() is not None and (changes := changed_plugins(before, now[run.variant])):
                raise InputError(f"{path}: {changes[0]}; runs before and after cannot be compared: name another --out")
        return study

    @classmethod
    def begin(cls, path: Path, variants: list[Variant], seeds: Sequence[int], threads: int) -> Study:
        """A new study, or the one in that folder with, perhaps, more tricks and more seeds.

        Raises InputError when something else is in the folder, or a study of other recipes.
        """
        there = cls.open(path) if cls.is_one(path) else None
        if there is not None and there.has_begun():
            _check_holds(there, variants, seeds)
            threads = there.threads
        elif there is not None:
            pass  # nothing has been played, perhaps because something was wrong with it
        elif path.is_file():
            raise InputError(f"--out {path}: a file of that name is in the way")
        elif path.is_dir() and any(not p.name.startswith((TEMPORARY, ".lock")) for p in path.iterdir()):
            raise InputError(f"--out {path}: the folder is not empty and holds no study; name another")
        study = cls(path, variants, list(seeds), threads)
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        study.lock()
        study.write()
        return study

    def has_begun(self) -> bool:
        """Whether anything has been played."""
        return any((run.path / "recipe.toml").exists() for run in self.runs)

    def write(self) -> None:
        variants = [
            {
                "folder": v.folder,
                "trick": v.trick,
                "adds": v.adds,
                "recipe": v.recipe.to_dict(),
                "plugins": plugin_record(v.recipe.components),
            }
            for v in self.variants
        ]
        record = {"gankit": __version__, "seeds": self.seeds, "threads": self.threads, "variants": variants}
        # First the one that makes the folder a study; whoever finds no recipes beside it writes them again. Not sorted:
        # the order of a recipe's tricks is the order in which they act.
        write_text(self.path / "study.json", json.dumps(record, indent=2) + "\n")
        for variant in self.variants:
            write_text(self.path / f"{variant.folder}.toml", variant.recipe.to_toml())

    def lock(self) -> None:
        """Keeps every other process out. Raises InputError when another is in."""
        self._lock.acquire()

    def release(self) -> None:
        """Lets other processes in."""
        self._lock.release()


def _check_holds(there: Study, variants: list[Variant], seeds: Sequence[int]) -> None:
    """Raises InputError when what was asked for is not what is there, and perhaps more."""
    way_out = f"`gankit ablate {there.path}` goes on with what was asked for, another --out begins anew"
    asked = {variant.folder: variant for variant in variants}
    for variant in there.variants:
        if variant.folder not in asked:
            raise InputError(f"{there.path}: the study there has {variant.folder}, and this one has not; {way_out}")
        before, now = variant.recipe.to_dict(), asked[variant.folder].recipe.to_dict()
        for key in differing([before, now]):
            if key != "requires":
                raise InputError(
                    f"{there.path}: {key} of {variant.folder} was {_shown(before, key)} when the study began and is "
                    f"{_shown(now, key)} now; {way_out}"
                )
    if left_out := [seed for seed in there.seeds if seed not in seeds]:
        raise InputError(f"--seeds: the study in {there.path} has seed {left_out[0]} too; {way_out}")


def _shown(recipe: Raw, key: str) -> str:
    if key == "tricks":
        return f"in the order {', '.join(recipe['tricks'])}"
    flat = flattened(recipe)
    return json.dumps(flat[key]) if key in flat else "not there"
