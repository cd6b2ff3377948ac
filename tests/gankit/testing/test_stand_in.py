"""The stand-in accelerator, and whole runs on it."""

import pytest
import torch

from gankit import Plugin, Recipe, hookimpl
from gankit.evaluation.standalone import evaluate
from gankit.sampling.sampler import Sampler
from gankit.testing import check_plugin
from gankit.testing.stand_in import STAND_IN, stand_in_accelerator
from gankit.training.assembly import assemble
from gankit.training.launch import resume, start
from gankit.training.reporter import Reporter
from gankit.training.update import train_iteration


@pytest.fixture
def reads():
    with stand_in_accelerator() as reads:
        yield reads


def test_operators_run_on_the_stand_in(reads):
    x = torch.randn(3, 4, device=STAND_IN, requires_grad=True)
    y = (x.relu() @ torch.ones(4, 2, device=STAND_IN)).sum()
    y.backward()
    assert (x.device.type, y.device.type, x.grad.device.type) == (STAND_IN,) * 3
    assert reads == []
    assert torch.equal(x.grad.cpu(), 2 * (x > 0).float().cpu())
    state = torch.tensor([1.0, 2.0], device=STAND_IN)
    same = state.mul_(3)
    assert same is state
    assert state.cpu().tolist() == [3, 6]


def test_operands_on_two_devices_are_refused(reads):
    x = torch.ones(3, device=STAND_IN)
    for wrong in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(3)])):
        with pytest.raises(RuntimeError, match="expected all tensors to be on the same device, but found lazy and cpu"):
            wrong()
    # CUDA allows numbers, and indices on the CPU.
    assert (x * torch.tensor(2.0)).device.type == STAND_IN
    assert x[torch.tensor([0, 2])].shape == (2,)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: bool((x > 0).all()),
        lambda x: torch.zeros(3).copy_(x),
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: x[x > 0],
    ],
)
def test_reads_of_the_host_are_recorded(reads, read):
    x = torch.ones(3, device=STAND_IN)
    (x + 1).clamp(max=1)
    assert reads == []
    read(x)
    assert reads


def test_autocast_is_accepted(reads):
    x = torch.ones(2, 2, device=STAND_IN)
    with torch.autocast(STAND_IN, torch.bfloat16):
        assert (x @ x).cpu().tolist() == [[2, 2], [2, 2]]


class OnTheCpu(Plugin):
    """Trick with a tensor on the CPU: a mistake that a CPU does not show.

    Source: none.
    """

    name = "on_the_cpu"

    @hookimpl
    def discriminator_inputs(self, images, condition, source):
        noise = torch.full((1, 1, *images.shape[2:]), 0.5)
        return (images + noise if source == "fake" else images), condition


def test_check_plugin_finds_a_tensor_on_the_wrong_device():
    with pytest.raises(RuntimeError, match="but found lazy and cpu"):
        check_plugin(OnTheCpu, classes=[0])
    check_plugin(OnTheCpu, classes=[0], stand_in=False)


TRICKS = {
    "moving_average": {},
    "r1": {"every": 2},
    "label_smoothing": {},
    "instance_noise": {},
    "experience_replay": {"capacity": 8},
    "ada": {"initial": 0.5},
}


def small_recipe(device, **changes):
    return Recipe.from_dict(
        {
            "train": {"iterations": 4, "batch_size": 4, "device": device, "precision": "fp32"} | changes,
            "output": {"log_every": 2, "sample_every": 4, "checkpoint_every": 2, "sample_count": 4},
            "evaluation": {"count": 8, "every": 4},
            "data": {"use": "shapes", "resolution": 8, "count": 16, "kinds": ["circle", "ring"]},
            "generator": {"use": "igan_vn", "channels": 2},
            "discriminator": {"use": "igan_per_class", "width": 2},
            "normalization": {"generator": {"use": "batch_norm"}, "discriminator": {"use": "none"}},
            "tricks": TRICKS,
            "metrics": {"frechet_distance": {}},
        }
    )


def test_a_run_on_the_stand_in_ends_as_on_the_cpu(reads, tmp_path):
    """Run, resume, sample, evaluate. The stand-in computes on the CPU, but with other fused kernels and strides."""
    for device in ("cpu", STAND_IN):
        start(small_recipe(device, iterations=2), tmp_path / device, Reporter())
        resume(tmp_path / device, ["train.iterations=4"], Reporter())
    files = [tmp_path / device / "generator.safetensors" for device in ("cpu", STAND_IN)]
    (images, labels), (others, other_labels) = (
        Sampler.load(file, device=device).sample(6, seed=3)
        for file, device in zip(files, ("cpu", STAND_IN), strict=True)
    )
    assert (images.int() - others.int()).abs().max() <= 1
    assert torch.equal(labels, other_labels)
    results = [evaluate(files[1], None, {}, device, metrics=["frechet_distance"]) for device in ("cpu", STAND_IN)]
    assert results[0]["metrics"] == pytest.approx(results[1]["metrics"], rel=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nothing_is_read_between_rows_of_the_log(reads, precision):
    run = assemble(small_recipe(STAND_IN, precision=precision, discriminator_steps=2))
    run.load_data()
    run.start()
    train_iteration(run)
    reads.clear()
    for _ in range(4):
        train_iteration(run)
        run.after_iteration(run)
    assert reads == []
