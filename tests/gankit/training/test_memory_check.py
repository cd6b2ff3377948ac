"""A step that cannot fit into the memory is refused, and the message names the batch size that fits."""

import re
from types import SimpleNamespace

import pytest
import torch

from gankit import GankitError, InputError
from gankit.training import cost, launch, memory_check
from gankit.training.assembly import assemble, assemble_unchecked
from gankit.training.cost import measure_cost
from gankit.training.memory_check import StepMemory, estimated_bytes, measure_memory

DATA = {"resolution": 8, "channels": 1}


@pytest.fixture
def limit(monkeypatch):
    """Function that sets the available memory in bytes."""
    return lambda count: monkeypatch.setattr(memory_check, "available_memory", lambda device: count)


@pytest.mark.parametrize(("train", "images"), [({}, 32), ({"accumulate": 2}, 16)])
def test_images_that_cannot_fit_are_refused_before_the_networks_are_built(toy_run, limit, monkeypatch, train, images):
    monkeypatch.setattr("gankit.training.assembly.build_networks", lambda run: pytest.fail("networks are built"))
    monkeypatch.setattr(memory_check, "measure_memory", lambda run, assemble: None)
    limit(1)
    needed = []
    real = memory_check.least_bytes
    monkeypatch.setattr(memory_check, "least_bytes", lambda *a: needed.append(real(*a)) or needed[-1])
    with pytest.raises(
        InputError, match=r"train\.batch_size: 32 given; the images of one step take at least .* train\.accumulate"
    ):
        toy_run(train={"batch_size": 32, **train}, data=DATA)
    assert needed[0] >= images * 4 * 2 * 64


def test_a_batch_that_fits_is_not_refused(toy_recipe, limit):
    run = assemble_unchecked(toy_recipe(train={"batch_size": 64}), torch.device("cpu"))
    need = measure_memory(run, assemble_unchecked).at(64)
    for count in (need, None):
        limit(count)
        assemble(toy_recipe(train={"batch_size": 64}))


def test_the_prediction_is_near_the_memory_of_a_large_batch(toy_recipe):
    def run_of(batch):
        return assemble_unchecked(toy_recipe(train={"batch_size": batch}, data={"resolution": 32}), torch.device("cpu"))

    memory = measure_memory(run_of(8), assemble_unchecked)
    measured = measure_cost(run_of(128)).memory
    assert memory.at(128) / memory_check.HEADROOM == pytest.approx(measured, rel=0.1)
    assert measured / memory_check.ROUGH < estimated_bytes(run_of(128)) < 3 * measured


def test_tensors_of_other_runs_on_an_accelerator_do_not_count(toy_recipe, monkeypatch):
    """Use numbers of a stand-in for `torch.cuda`: 500 bytes belong to others, and the peak is 300 bytes higher."""
    run = assemble_unchecked(toy_recipe(), torch.device("cpu"))
    cost.load_random_images(run)
    run.start()

    def own():
        return cost._persistent_bytes(run)

    numbers = {"memory_allocated": lambda device: own() + 500, "max_memory_allocated": lambda device: own() + 800}
    module = SimpleNamespace(reset_peak_memory_stats=lambda device: None, **numbers)
    monkeypatch.setattr(cost, "accelerator_module", lambda kind: module)
    assert cost.peak_of_iteration(run) == own() + 300


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_cannot_fit_is_refused_and_the_named_batches_fit(toy_recipe, limit, accumulate):
    changes = {"batch_size": 256, "accumulate": accumulate}
    run = assemble_unchecked(toy_recipe(train=changes, data={"resolution": 32}), torch.device("cpu"))
    memory = measure_memory(run, assemble_unchecked)
    limit((memory.at(32) + memory.at(64)) / 2)
    with pytest.raises(InputError, match=r"train\.batch_size: 256 given; (one step needs about|.* at least) ") as error:
        assemble(toy_recipe(train=changes, data={"resolution": 32}))
    batch = int(re.search(r"train\.batch_size = (\d+) fits", str(error.value))[1])
    parts = int(re.search(r"train\.accumulate = (\d+), which keeps the whole batch", str(error.value))[1])
    assert (batch, parts) == (32 * accumulate, 8)
    assemble(toy_recipe(train={**changes, "batch_size": batch}, data={"resolution": 32}))
    assemble(toy_recipe(train={**changes, "accumulate": parts}, data={"resolution": 32}))


def test_balanced_batches_that_fit_have_all_classes(toy_recipe, limit):
    data, train = {"classes": 3, "resolution": 16}, {"batch_size": 96, "class_balanced": True}
    run = assemble_unchecked(toy_recipe(train=train, data=data), torch.device("cpu"))
    memory = measure_memory(run, assemble_unchecked)
    assert memory_check.fitting_settings(run, memory.at(30), assemble_unchecked).startswith(
        "train.batch_size = 24 fits"
    )
    assert memory_check.fitting_settings(run, 1, assemble_unchecked).startswith("no batch size fits; choose a lower")


def test_largest_number_of_images():
    memory = StepMemory(base=100, step=8, available=None)
    assert memory.at(10) == 225
    assert [memory.largest(1, 225, below) for below in (4, 5, 64)] == [2, 4, 8]
    assert memory.largest(3, 225, 64) == 6
    assert memory.largest(1, 134, 64) == 0


def test_memory_that_is_full_during_the_training_names_the_batch_that_fits(train_toy, monkeypatch, toy_recipe):
    run = assemble_unchecked(toy_recipe(train={"batch_size": 64}), torch.device("cpu"))
    available = measure_memory(run, assemble_unchecked).at(20)
    monkeypatch.setattr(launch, "available_memory", lambda device: available)

    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr(launch, "train", full)
    with pytest.raises(GankitError, match=r"^the memory is full; train\.batch_size = 16 fits, and so does train\.acc"):
        train_toy(train={"batch_size": 64})
