"""A toy recipe with its plugins in one file, and the program called in this process or as a new process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from gankit.cli import main
from gankit.recipe.recipe import Recipe
from gankit.training.launch import start
from gankit.training.reporter import Reporter

TOY_PLUGINS = '''
import time
import torch
from pydantic import Field
from torch import nn
from gankit import Dataset, DiscriminatorOutput, Plugin, Settings, LossTerm, hookimpl


class Blobs(Plugin):
    """Noise in two classes."""

    name, kind = "blobs", "data"

    @hookimpl
    def load_data(self):
        images = torch.randint(0, 255, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        return Dataset(1, 8, ("left", "right"), lambda: (images, torch.arange(40) % 2))


class Normal(Plugin):
    name, kind = "toy_normal", "latent"

    @hookimpl
    def adjust_spec(self, spec):
        spec.latent_size, spec.conditional = 3, True

    @hookimpl
    def sample_latent(self, count, device, generator):
        return torch.randn(count, 3, device=device, generator=generator)


class G(nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 64), nn.Tanh())

    def forward(self, z, labels):
        return self.layers(z).view(-1, 1, 8, 8)


class D(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(64, 4), nn.Linear(4, 1)

    def forward(self, images):
        features = self.hidden(images.flatten(1)).relu()
        return self.head(features), features


class Loss(Plugin):
    name, kind = "toy_loss", "loss"

    @hookimpl
    def loss_terms(self, player):
        if player == "generator":
            yield LossTerm("fool", lambda step: nn.functional.softplus(-step.fake_output.logits).mean())
        else:
            yield LossTerm("real", lambda step: nn.functional.softplus(-step.real_output.logits).mean())
            yield LossTerm("fake", lambda step: nn.functional.softplus(step.fake_output.logits).mean())


class AsItIs(Plugin):
    name, kind = "as_it_is", "normalization"

    @hookimpl
    def normalization(self, layer):
        return layer


class Sgd(Plugin):
    name, kind = "sgd", "optimizer"

    class Config(Settings):
        lr: float = Field(0.01, gt=0, description="learning rate")

    @hookimpl
    def build_optimizer(self, parameters):
        return torch.optim.SGD(parameters, lr=self.config.lr)


class Constant(Plugin):
    name, kind = "toy_constant", "lr_schedule"

    @hookimpl
    def lr_schedule(self):
        return lambda iteration: 1.0


class Slow(Plugin):
    """Waits in every iteration."""

    name = "slow"

    class Config(Settings):
        seconds: float = 0.05

    @hookimpl
    def after_iteration(self):
        time.sleep(self.config.seconds)


class Stopper(Plugin):
    name = "stopper"

    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 5:
            run.stop("five [are] enough")


class NotANumber(Plugin):
    name = "nan"

    @hookimpl
    def loss_terms(self, player):
        yield LossTerm("nan", lambda step: step.fake.mean() * float("nan"))


class Bug(Plugin):
    name = "bug"

    @hookimpl
    def on_start(self):
        raise ZeroDivisionError("a bug in a plugin")


class Picky(Plugin):
    name = "picky"

    @hookimpl
    def check_recipe(self, recipe):
        if recipe.train.batch_size > 16:
            raise ValueError("not more than 16 [images], please")
        yield "a picky [plugin] never helps"


class Misspelt(Plugin):
    name = "misspelt"

    @hookimpl
    def before_d_stp(self, run):
        pass
'''

TOY_RECIPE = """\
# Noise in two classes: nothing to learn
[train]
iterations = 12
batch_size = 8
device = "cpu"
[data]
use = "./toy.py:Blobs"
[latent]
use = "./toy.py:Normal"
[generator]
use = "./toy.py:G"
[discriminator]
use = "./toy.py:D"
[loss]
use = "./toy.py:Loss"
[lr_schedule]
use = "./toy.py:Constant"
[normalization]
generator = "./toy.py:AsItIs"
discriminator = "./toy.py:AsItIs"
[optimizer]
generator = "./toy.py:Sgd"
discriminator = "./toy.py:Sgd"
[output]
log_every = 4
sample_every = 5
checkpoint_every = 5
sample_count = 8
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with toy.toml and toy.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY_PLUGINS)
    (tmp_path / "toy.toml").write_text(TOY_RECIPE)
    return tmp_path


@pytest.fixture(scope="session")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function that trains the toy recipe with overrides, once in a session, and returns the run directory."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "toy.py").write_text(TOY_PLUGINS)
    (folder / "toy.toml").write_text(TOY_RECIPE)

    @cache
    def train(*overrides: str) -> Path:
        path = folder / f"run{len(list(folder.iterdir()))}"
        start(Recipe.load(folder / "toy.toml", list(overrides)), path, Reporter())
        return path

    return train


@pytest.fixture
def toy_run(toy: Path, train_once: Callable[..., Path]) -> Callable[..., Path]:
    """Function that puts a trained run of the toy recipe into the current folder and returns its directory."""

    def put(name: str, *overrides: str) -> Path:
        shutil.copytree(train_once(*overrides), toy / name)
        return toy / name

    return put


def read_terminal(controller: int, other: int) -> str:
    """Return what is written to a pseudo-terminal until the process closes it. Closes both ends."""
    os.close(other)
    shown = b""
    while True:
        try:
            shown += os.read(controller, 65536)
        except OSError:  # raised by Linux when the other end is closed
            break
    os.close(controller)
    return shown.decode()


@dataclass
class Answer:
    """Exit code and output of the program."""

    code: int
    out: str
    err: str


@pytest.fixture
def gankit(capsys: pytest.CaptureFixture) -> Callable[..., Answer]:
    """Function that calls the program in this process."""

    def call(*arguments: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        return Answer(exit_.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture
def start_process() -> Callable[..., subprocess.Popen]:
    """Function that starts the program as a process with pipes, which is killed at the end of the test."""
    started = []

    def start(*arguments: object, environment: dict[str, str] | None = None, **more: object) -> subprocess.Popen:
        command = [sys.executable, "-m", "gankit", *[str(a) for a in arguments]]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
        started.append(subprocess.Popen(command, env=os.environ | (environment or {}), **more))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def gankit_process(start_process: Callable[..., subprocess.Popen]) -> Callable[..., Answer]:
    """Function that runs the program as a process to its end."""

    def call(*arguments: object, **more: object) -> Answer:
        process = start_process(*arguments, **more)
        out, err = process.communicate(timeout=60)
        return Answer(process.returncode, out, err)

    return call


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Function that puts a distribution with entry points on the path, as pip would, and returns its folder."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def put(distribution: str, entry_points: dict[str, str], modules: dict[str, str]) -> Path:
        info = site / f"{distribution.replace('-', '_')}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        lines = [f"{name} = {value}" for name, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[gankit.plugins]", *lines, ""]))
        for name, source in modules.items():
            (site / name).parent.mkdir(exist_ok=True)
            (site / f"{name}.py").write_text(source)
            for loaded in (name, name.partition("/")[0], name.replace("/", ".")):
                monkeypatch.delitem(sys.modules, loaded, raising=False)
        return site

    return put
