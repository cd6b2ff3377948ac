"""Fixtures with the small plugins of `toys.py`: a registry, recipes, runs in memory and runs on disk."""

import copy
import importlib.util
import inspect
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomli_w

from gankit import Plugin, Recipe
from gankit.plugin.registry import Entry, Registry
from gankit.recipe.toml import merge
from gankit.training.assembly import assemble
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter
from gankit.training.run import TrainingRun

TOYS = Path(__file__).with_name("toys.py")

TOY: dict[str, Any] = {
    "name": "toy",
    "train": {"iterations": 6, "batch_size": 8, "device": "cpu", "keep_freed_memory": False},
    "output": {"log_every": 2, "sample_every": 3, "checkpoint_every": 2, "sample_count": 4},
    "data": {"use": "Blobs"},
    "latent": {"use": "Normal"},
    "generator": {"use": "G"},
    "discriminator": {"use": "D"},
    "loss": {"use": "Loss"},
    "lr_schedule": {"use": "Constant"},
    "normalization": {"generator": {"use": "BatchNorm"}, "discriminator": {"use": "AsItIs"}},
    "optimizer": {"generator": {"use": "Adam"}, "discriminator": {"use": "Adam"}},
    "tricks": {},
}
"""A recipe that fills every slot, with plugins by their class names in toys.py."""


_spec = importlib.util.spec_from_file_location("gankit_toys", TOYS)
_toys = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_toys)


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """Return the module `toys.py`."""
    return _toys


class Shelf:
    """A registry with the plugins of toys.py and those that a test adds with `shelf.add(MyPlugin)`."""

    def __init__(self) -> None:
        self.own = ModuleType("gankit_toys_own")
        sys.modules[self.own.__name__] = self.own
        classes = [c for c in vars(_toys).values() if inspect.isclass(c) and issubclass(c, Plugin) and c is not Plugin]
        names = [(c.kind, c.__name__) for c in classes]
        self.registry = Registry([Entry(kind, name, "toys", "1.0", f"gankit_toys:{name}") for kind, name in names])

    def add(self, plugin_class: type, name: str | None = None, kind: str | None = None) -> type:
        """Register a plugin under a name, by default the name of its class. Usable as a decorator."""
        setattr(self.own, plugin_class.__name__, plugin_class)
        value = f"{self.own.__name__}:{plugin_class.__name__}"
        entry = Entry(kind or plugin_class.kind, name or plugin_class.__name__, "own", "1.0", value)
        self.registry = Registry([*self.registry.entries, entry])
        return plugin_class


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Replace the installed plugins by those of toys.py; return the shelf to which a test adds its own."""
    shelf = Shelf()
    monkeypatch.setattr(Registry, "installed", classmethod(lambda cls: shelf.registry))
    yield shelf
    sys.modules.pop(shelf.own.__name__, None)


@pytest.fixture
def toy_dict():
    """Return a function that merges changes into the toy recipe and returns it as nested dictionaries."""

    def make(**changes: Any) -> dict[str, Any]:
        return merge(copy.deepcopy(TOY), copy.deepcopy(changes))

    return make


@pytest.fixture
def toy_recipe(shelf: Shelf, toy_dict, tmp_path: Path):
    """Return a function that merges changes into the toy recipe and validates it."""

    def make(**changes: Any) -> Recipe:
        return Recipe.from_dict(toy_dict(**changes), source=tmp_path / "toy.toml")

    return make


@pytest.fixture
def toy_run(toy_recipe):
    """Return a function that assembles a run of the toy recipe and loads its data."""

    def make(**changes: Any) -> TrainingRun:
        run = assemble(toy_recipe(**changes))
        run.load_data()
        return run

    return make


def _by_path(raw: Any) -> Any:
    if not isinstance(raw, dict):
        return raw
    return {
        name: f"{TOYS}:{value}" if name == "use" and value.isidentifier() else _by_path(value)
        for name, value in raw.items()
    }


def write_toy_recipe(path: Path, **changes: Any) -> Path:
    """Merge changes into the toy recipe and write it, with plugins by path, so that any process can read it."""
    path.write_text(tomli_w.dumps(_by_path(merge(copy.deepcopy(TOY), copy.deepcopy(changes)))))
    return path


@pytest.fixture
def toy_file(tmp_path: Path):
    """Return `write_toy_recipe` for a file in `tmp_path`."""
    return lambda name="toy.toml", **changes: write_toy_recipe(tmp_path / name, **changes)


@dataclass
class RecordingReporter(Reporter):
    """A reporter that keeps all events."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    trained_iterations: list[int] = field(default_factory=list)
    outcome: Any = None

    def started(self, run: TrainingRun, directory: Any) -> None:
        self.run = run

    def trained(self, run: TrainingRun) -> None:
        self.trained_iterations.append(run.iteration)

    def logged(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float) -> None:
        self.metrics = (iteration, metrics)

    def warned(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def informed(self, sentence: str) -> None:
        self.messages.append(sentence)

    def ended(self, outcome: Any) -> None:
        self.outcome = outcome


@dataclass
class TrainedRun:
    """A run directory that was trained in this process, and all events of the training."""

    path: Path
    reporter: RecordingReporter

    @property
    def run(self) -> TrainingRun:
        return self.reporter.run

    @property
    def generator(self) -> bytes:
        return (self.path / "generator.safetensors").read_bytes()

    @property
    def checkpoints(self) -> list[str]:
        return sorted(p.name for p in (self.path / "checkpoints").iterdir())


@pytest.fixture
def train_toy(toy_recipe, tmp_path: Path):
    """Return a function that trains the toy recipe, with changes, into `tmp_path / out`."""

    def call(out: str = "run", **changes: Any) -> TrainedRun:
        reporter = RecordingReporter()
        start(toy_recipe(**changes), tmp_path / out, reporter)
        return TrainedRun(tmp_path / out, reporter)

    return call


@pytest.fixture
def resume_toy(shelf: Shelf, tmp_path: Path):
    """Return a function that resumes a run of `train_toy`."""

    def call(out: str = "run", *overrides: str, **options: bool) -> TrainedRun:
        reporter = RecordingReporter()
        resume(tmp_path / out, overrides, reporter, **options)
        return TrainedRun(tmp_path / out, reporter)

    return call
