"""Fixtures of the sampling tests."""

import pytest

from gankit.sampling.generator_file import save_generator
from gankit.training.update import train_iteration


@pytest.fixture
def file(toy_run, tmp_path):
    """Return a function that trains the toy recipe for 3 iterations and writes its generator file."""

    def make(name="generator.safetensors", **changes):
        run = toy_run(**changes)
        for _ in range(3):
            train_iteration(run)
        save_generator(run, tmp_path / name)
        return tmp_path / name

    return make
