"""Choice of the device. The accelerators are stand-ins: this test needs none."""

from types import SimpleNamespace

import pytest
import torch

from gankit import InputError
from gankit.runtime import device as module
from gankit.runtime.device import accelerator_module, choose_device, computes_in_bf16, free_memory
from gankit.runtime.rng import RandomState


@pytest.fixture
def accelerator(monkeypatch):
    """Return a function that makes PyTorch report an accelerator, with the functions of its module."""

    def install(device_type, **functions):
        functions = SimpleNamespace(is_available=lambda: True, **functions)
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(device_type))
        monkeypatch.setattr(torch, "get_device_module", lambda name: functions)

    return install


@pytest.mark.parametrize("device_type", ["cuda", "mps", "xpu"])
def test_auto_finds_any_accelerator(accelerator, device_type):
    accelerator(device_type)
    assert choose_device("auto") == torch.device(device_type)


def test_auto_is_the_cpu_without_an_accelerator(monkeypatch):
    def missing():
        raise RuntimeError("no accelerator, as in torch 2.6")

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", missing)
    assert choose_device("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["mps", "xpu", "hip", "vulkan", "privateuseone:1"])
def test_a_missing_device_is_one_short_sentence(name):
    if name in ("mps", "xpu") and accelerator_module(name).is_available():
        pytest.skip(f"this machine has {name}")
    with pytest.raises(InputError) as error:
        choose_device(name)
    assert str(error.value) == (f"train.device: {name!r} cannot be used here (this machine has no {name}); use cpu")


@pytest.mark.parametrize("name", ["gpu", "GPU", "no_such_device", "cuda:x"])
def test_a_name_that_is_no_device_is_one_short_sentence(name):
    with pytest.raises(InputError, match=f"'{name}' is no device; use auto, cpu, cuda, cuda:1, mps or xpu"):
        choose_device(name)


def test_bf16_is_used_where_the_device_computes_it(accelerator):
    accelerator("xpu", is_bf16_supported=lambda: True)
    assert computes_in_bf16(torch.device("xpu"))
    accelerator("mps")
    assert not computes_in_bf16(torch.device("mps"))


def test_free_memory_of_a_device(accelerator):
    accelerator("xpu", mem_get_info=lambda device: (3, 10))
    assert free_memory(torch.device("xpu")) == 3
    accelerator("mps")
    assert free_memory(torch.device("mps")) is None
    assert free_memory(torch.device("cpu")) is None


def test_the_random_state_of_an_accelerator_is_restored(accelerator):
    state = [torch.tensor([1, 2], dtype=torch.uint8)]
    accelerator(
        "mps", get_rng_state=lambda device: state[0].clone(), set_rng_state=lambda new, device: state.insert(0, new)
    )
    device = torch.device("mps")
    before = RandomState.capture(device)
    state[0] = torch.tensor([3, 4], dtype=torch.uint8)
    before.restore(device)
    assert state[0].tolist() == [1, 2]
    # A state of a run on the CPU leaves that of the accelerator as it is.
    RandomState.capture(torch.device("cpu")).restore(device)
    assert state[0].tolist() == [1, 2]
    assert module.accelerator_module("cpu") is None
