"""The toys of `toys.py` under names, recipes made of them, games and runs of those."""

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
"""A recipe with every slot filled, by the class's name in toys.py."""


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_toys = _module("gankit_toys", TOYS)


@pytest.fixture(scope="session")
def toys() -> ModuleType:
    """The module of the toys."""
    return _toys


def _entries(module: ModuleType, distribution: str) -> list[Entry]:
    plugins = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, Plugin) and c is not Plugin]
    return [
        Entry(c.kind, c.__name__, distribution, "1.0", f"{module.__name__}:{c.__name__}")
        for c in plugins
        if c.__module__ == module.__name__
    ]


class Shelf:
    """A registry of the toys, to which a test adds plugins of its own: `shelf.add(MyTrick)`."""

    def __init__(self) -> None:
        self.own = ModuleType("gankit_toys_own")
        sys.modules[self.own.__name__] = self.own
        self.registry = Registry(_entries(_toys, "toys"))

    def add(self, plugin_class: type, name: str | None = None, kind: str | None = None) -> type:
        setattr(self.own, plugin_class.__name__, plugin_class)
        entry = Entry(
            kind or plugin_class.kind,
            name or plugin_class.__name__,
            "own",
            "1.0",
            f"{self.own.__name__}:{plugin_class.__name__}",
        )
        self.registry = Registry([*self.registry.entries, entry])
        return plugin_class


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """All that is installed in this test."""
    made = Shelf()
    monkeypatch.setattr(Registry, "installed", classmethod(lambda cls: made.registry))
    yield made
    sys.modules.pop(made.own.__name__, None)


@pytest.fixture
def toy_dict():
    """The toy recipe as nested dictionaries with other tables laid over it, plugins by their names."""

    def make(**changes: Any) -> dict[str, Any]:
        return merge(copy.deepcopy(TOY), copy.deepcopy(changes))

    return make


@pytest.fixture
def toy_recipe(shelf: Shelf, toy_dict, tmp_path: Path):
    def make(**changes: Any) -> Recipe:
        return Recipe.from_dict(toy_dict(**changes), source=tmp_path / "toy.toml")

    return make


@pytest.fixture
def toy_game(toy_recipe):
    """A game of the toy recipe, its data loaded."""

    def make(**changes: Any) -> TrainingRun:
        run = assemble(toy_recipe(**changes))
        run.load_data()
        return run

    return make


def _by_path(raw: Any, key: str = "") -> Any:
    if not isinstance(raw, dict):
        return raw
    return {
        name: f"{TOYS}:{value}" if name == "use" and value.isidentifier() else _by_path(value, name)
        for name, value in raw.items()
    }


@pytest.fixture
def toy_file(toy_dict, tmp_path: Path):
    """The toy recipe as a file, plugins by the path of toys.py, so that any process can read it."""

    def make(name: str = "toy.toml", **changes: Any) -> Path:
        path = tmp_path / name
        path.write_text(tomli_w.dumps(_by_path(toy_dict(**changes))))
        return path

    return make


@dataclass
class Told(Reporter):
    """A reporter that remembers."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    played_iterations: list[int] = field(default_factory=list)
    outcome: Any = None

    def started(self, run: TrainingRun, directory: Any) -> None:
        self.run = run

    def trained(self, run: TrainingRun) -> None:
        self.played_iterations.append(run.iteration)

    def logged(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def evaluated(self, iteration: int, metrics: dict[str, float], seconds: float = 0.0) -> None:
        self.metrics = (iteration, metrics)

    def warned(self, sentence: str) -> None:
        self.advice.append(sentence)

    def informed(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def ended(self, outcome: Any) -> None:
        self.outcome = outcome


@dataclass
class Run:
    """A run that has been played in this process, with all that was said about it."""

    path: Path
    told: Told

    @property
    def run(self) -> TrainingRun:
        return self.told.run

    @property
    def generator(self) -> bytes:
        return (self.path / "generator.safetensors").read_bytes()

    @property
    def checkpoints(self) -> list[str]:
        return sorted(p.name for p in (self.path / "checkpoints").iterdir())


@pytest.fixture
def play(toy_recipe, tmp_path: Path):
    """Plays the toy recipe into `tmp_path / out`."""

    def call(out: str = "run", **changes: Any) -> Run:
        told = Told()
        start(toy_recipe(**changes), tmp_path / out, told)
        return Run(tmp_path / out, told)

    return call


@pytest.fixture
def go_on(shelf: Shelf, tmp_path: Path):
    """Resumes what `play` began."""

    def call(out: str = "run", *overrides: str) -> Run:
        told = Told()
        resume(tmp_path / out, overrides, told)
        return Run(tmp_path / out, told)

    return call
