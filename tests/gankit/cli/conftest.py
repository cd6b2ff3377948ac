"""A toy recipe with its plugins in one file, and the program called in this process or as a new process."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from gankit.cli import main
from gankit.recipe.recipe import Recipe
from gankit.training.launch import start
from gankit.training.reporter import Reporter
from tests.gankit.conftest import TOYS

# Plugins beside those of `toys.py`. The metric `score` depends on the seed and on whether `boost` is used, so that the
# effect of `boost` is known: about 2.
MORE_PLUGINS = '''
import os
import signal
import time

class Slow(Plugin):
    """Waits in every iteration."""

    name = "slow"
    @hookimpl
    def after_iteration(self):
        time.sleep(0.05)

class Signals(Plugin):
    """Sends signals in iteration 5, unless a file `sent` exists."""

    name = "signals"

    class Config(Settings):
        number: int = signal.SIGINT
        count: int = 1
    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 5 and not os.path.exists("sent"):
            open("sent", "w").close()
            for _ in range(self.config.count):
                os.kill(os.getpid(), self.config.number)

class Picky(Plugin):
    name = "picky"
    @hookimpl
    def check_recipe(self, recipe):
        if recipe.train.batch_size > 16:
            raise ValueError("not more than 16 [images], please")
        yield "a picky [plugin] never helps"
    @hookimpl
    def after_iteration(self, run):
        if run.iteration == 5:
            run.stop("five [are] enough")

class Misspelt(Plugin):
    name = "misspelt"
    @hookimpl
    def before_d_stp(self, run):
        pass

class Scored(Plugin):
    """Metrics with known values."""

    name, read_only = "scored", True
    @hookimpl
    def on_start(self, run):
        self.run = run
    @hookimpl
    def compute_metrics(self):
        seed, boosted = self.run.recipe.seed, any(p.endswith("boost") for p in self.run.plugins)
        weights = sum(p.detach().double().sum() for p in self.run.generator.parameters())
        return {"score": 10.0 + seed**2 + boosted * (2 + 0.1 * (seed % 3)), "weight": float(weights)}

class Gate(Plugin):
    """Waits in iteration 5 while a file `closed` exists, and in each later one while a file `slow` exists."""

    name = "gate"
    @hookimpl
    def after_iteration(self, run):
        while run.iteration == 5 and os.path.exists("closed"):
            time.sleep(0.02)
        if run.iteration > 5 and os.path.exists("slow"):
            time.sleep(0.3)

class BreaksOne(Plugin):
    """Makes a loss NaN for seed 1."""

    name = "breaks_one"
    @hookimpl
    def loss_terms(self, player, run):
        yield LossTerm("poison", lambda step: step.fake.mean() * (float("nan") if run.recipe.seed == 1 else 0.0))

class Encoding(Plugin):
    """Encoder that G trains to find z, and a count of G's steps."""

    name = "encoding"

    class Config(Settings):
        outputs: int = 4
    def __init__(self, config):
        super().__init__(config)
        self.steps = 0
    @hookimpl
    def extra_networks(self, run):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4))
        return {"encoder": ExtraNetwork(network, trained_by=("generator",))}
    @hookimpl
    def loss_terms(self, player, run):
        if player == "generator":
            encoder = run.networks["encoder"]
            yield LossTerm("code", lambda step: F.mse_loss(encoder(step.fake).float(), step.z))
    @hookimpl
    def after_g_step(self):
        self.steps += 1
    @hookimpl
    def encode(self, run, images):
        return run.networks["encoder"](images)[:, : self.config.outputs]
    def state_dict(self):
        return {"steps": self.steps}
    def load_state_dict(self, state):
        self.steps = state["steps"]

class Painting(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.lift = nn.Linear(4 + spec.classes, 6 * 16)
        self.body = nn.Sequential(nn.Unflatten(1, (6, 4, 4)), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.paint = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(6, spec.channels, 3, padding=1), nn.Tanh())
    def forward(self, z, labels):
        if labels is not None:
            z = torch.cat([z, F.one_hot(labels, self.lift.in_features - 4)], 1)
        return self.paint(self.body(self.lift(z)))

class Painter(Plugin):
    """Generator with feature maps."""

    name, kind = "painter", "generator"
    @hookimpl
    def adjust_spec(self, spec):
        spec.conditional = spec.classes > 0
    @hookimpl
    def build_generator(self, spec):
        return Painting(spec)

class Brightness(Plugin):
    """Finds bright and dark pixels."""

    name = "brightness"

    class Config(Settings):
        wrong: bool = False
    @hookimpl
    def find_parts(self, images, fields):
        bright = images[:, 0] > 127
        if self.config.wrong:
            return {"bright": bright[0]}
        return {"bright": bright, "dark": ~bright, "absent": bright & False}

class Scattered(Plugin):
    """Draws all samples as one image."""

    name = "scattered"
    @hookimpl
    def draw_samples(self, images):
        from PIL import Image

        return Image.new("L", (5, 5))

class Listed(Scattered):
    """Writes all samples to one text file. The disk is full for three samples."""

    name = "listed"
    sample_suffixes = (".txt",)

    @hookimpl
    def save_sample_file(self, samples, condition, path, spec):
        path.write_text("half a file")
        if len(samples) == 3:
            raise OSError(28, "No space left on device")
        path.write_text(f"{len(samples)} samples of {spec.shape}, condition {condition.tolist()}")
        return path
'''

TOY_PLUGINS = TOYS.read_text() + MORE_PLUGINS

BUG = """
from gankit import Plugin, hookimpl

class Bug(Plugin):
    name = "bug"
    @hookimpl
    def on_start(self):
        raise ZeroDivisionError("a bug in a plugin")
"""

TOY_RECIPE = """\
# Noise in two classes
train = {iterations = 12, batch_size = 8, device = "cpu"}
output = {log_every = 4, sample_every = 5, checkpoint_every = 5, sample_count = 8}
data = "./toy.py:Blobs"
latent = "./toy.py:Normal"
generator = "./toy.py:G"
discriminator = "./toy.py:D"
loss = "./toy.py:Loss"
lr_schedule = "./toy.py:Constant"
normalization = {generator = "./toy.py:AsItIs", discriminator = "./toy.py:AsItIs"}
optimizer = {generator = "./toy.py:Sgd", discriminator = "./toy.py:Sgd"}
"""


def write_toy(folder: Path) -> Path:
    for name, text in {"toy.py": TOY_PLUGINS, "bug.py": BUG, "toy.toml": TOY_RECIPE}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with toy.toml, toy.py and bug.py."""
    monkeypatch.chdir(tmp_path)
    return write_toy(tmp_path)


@pytest.fixture(scope="session")
def train_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function that trains the toy recipe with overrides, once in a session, and returns the run directory."""
    folder = write_toy(tmp_path_factory.mktemp("toy"))

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


class ManualClock:
    time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Terminal(io.StringIO):
    """Stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def gankit(capfd: pytest.CaptureFixture) -> Callable[..., SimpleNamespace]:
    """Function that calls the program in this process and returns its exit code and output."""

    def call(*arguments: object) -> SimpleNamespace:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return SimpleNamespace(code=exit_.value.code or 0, out=out, err=err)

    return call


@pytest.fixture
def start_process() -> Callable[..., subprocess.Popen]:
    """Function that starts the program as a process with pipes, which is killed at the end of the test."""
    with ExitStack() as stack:

        def start(*arguments: str, environment: dict[str, str] | None = None, **more: object) -> subprocess.Popen:
            more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
            command = [sys.executable, "-m", "gankit", *arguments]
            process = stack.enter_context(subprocess.Popen(command, env=os.environ | (environment or {}), **more))
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Function that puts a distribution with entry points on the path, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def put(distribution: str, entry_points: dict[str, str], modules: dict[str, str]) -> None:
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

    return put
