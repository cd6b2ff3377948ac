"""What every plugin goes through in a run: it changes it, or not, and a resumed run ends with the same bytes."""

import pytest

from gankit import Recipe
from gankit.recipe.toml import merge
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter

BY_CLASS = {
    "train": {"iterations": 4, "batch_size": 4, "discriminator_steps": 2, "device": "cpu"},
    "output": {"log_every": 1, "checkpoint_every": 2, "sample_every": 4, "sample_count": 2},
    "data": {"use": "shapes", "resolution": 8, "count": 12, "kinds": ["circle", "ring"]},
    "generator": {"use": "igan_vn", "channels": 2},
    "discriminator": {"use": "igan_per_class", "width": 2},
    "loss": {"use": "igan_label"},
    "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
}
UNCONDITIONAL = merge(
    BY_CLASS,
    {
        "generator": {"use": "igan", "channels": 2},
        "discriminator": {"use": "igan", "width": 2},
        "loss": {"use": "non_saturating"},
    },
)
BASES = {"igan_vn": BY_CLASS, "igan": UNCONDITIONAL}

FILES = ("generator", "checkpoints/000004/generator", "checkpoints/000004/discriminator")


class Listener(Reporter):
    """Keeps what plugins had to say."""

    def __init__(self):
        self.advice = []

    def warned(self, sentence):
        self.advice.append(sentence)


def play(raw, out):
    return start(Recipe.from_dict(raw), out, Reporter())[0].path


@pytest.fixture
def plain_recipe():
    """A function from the base's name to its tiny recipe, nested dictionaries that may be merged into."""
    return lambda base="igan_vn": merge(BASES[base], {})


@pytest.fixture(scope="session")
def plain_runs(tmp_path_factory):
    """A function that plays a base recipe once and for all, and gives its run directory."""
    played = {}

    def run(base):
        if base not in played:
            played[base] = play(BASES[base], tmp_path_factory.mktemp(base) / "run")
        return played[base]

    return run


@pytest.fixture
def in_a_run(plain_runs, tmp_path):
    """A function that plays a changed recipe whole, and again cut in two; returns the whole run's directory.

    Asserts that both end with the same bytes, and that the change has changed what is learnt, or with
    `changes=False` that it has not.
    """

    def check(change, base="igan_vn", changes=True):
        changed = merge(BASES[base], change)
        whole = play(changed, tmp_path / "whole")
        cut = play(merge(changed, {"train": {"iterations": 2}}), tmp_path / "cut")
        resume(cut, ["train.iterations=4"], Reporter())
        newest = "checkpoints/000004"
        for file in (*FILES, f"{newest}/optimizer", f"{newest}/plugins", f"{newest}/random"):
            assert (cut / f"{file}.safetensors").read_bytes() == (whole / f"{file}.safetensors").read_bytes(), file
        assert (cut / newest / "state.json").read_bytes() == (whole / newest / "state.json").read_bytes()
        of_plain = plain_runs(base)
        learnt = [f"{newest}/{player}.safetensors" for player in ("generator", "discriminator")]
        same = all((whole / file).read_bytes() == (of_plain / file).read_bytes() for file in learnt)
        assert same is not changes
        return whole

    return check
