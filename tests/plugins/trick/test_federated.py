"""Trick: client of federated training."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gankit import InputError
from gankit_plugins.layers.round_file import UPDATE, averaged_tensors, read_round, write_round
from gankit_plugins.trick.federated import Federated


class FakeRun(SimpleNamespace):
    """Run with three small networks. `frozen` is not trained."""

    def __init__(self, directory):
        networks = {name: nn.BatchNorm1d(2) for name in ("generator", "discriminator", "frozen")}
        networks["frozen"].requires_grad_(False)
        recipe = SimpleNamespace(train=SimpleNamespace(iterations=10))
        super().__init__(directory=directory, networks=networks, iteration=0, stop_reason=None, recipe=recipe)

    def stop(self, reason):
        self.stop_reason = reason


@pytest.fixture
def client(tmp_path):
    """Function that returns a client and its run, with an average of ones for round 1."""

    def make(average="both"):
        run = FakeRun(tmp_path)
        ones = {name: torch.ones_like(tensor) for name, tensor in averaged_tensors(run.networks, average).items()}
        write_round(tmp_path / "average", ones, 1)
        return Federated(Federated.Config(file=tmp_path / "average", every=5, average=average)), run

    return make


def train(plugin, run, iterations):
    """Train until a plugin stops the run."""
    for _ in range(iterations):
        if run.stop_reason is None:
            run.iteration += 1
            plugin.after_iteration(run)


def test_networks_that_are_averaged(tmp_path):
    networks = FakeRun(tmp_path).networks
    assert {name.partition("/")[0] for name in averaged_tensors(networks, "both")} == {"generator", "discriminator"}
    assert {name.partition("/")[0] for name in averaged_tensors(networks, "generator")} == {"generator"}


def test_rounds_start_from_the_average_and_stop(client, tmp_path):
    plugin, run = client("generator")
    discriminator = run.networks["discriminator"].weight
    discriminator.data.fill_(3)
    plugin.on_start(run)
    assert run.networks["generator"].running_mean.tolist() == [1, 1]
    assert discriminator.tolist() == [3, 3]
    train(plugin, run, 9)
    assert (run.iteration, run.stop_reason[:19]) == (5, "round 1 is complete")
    assert read_round(tmp_path / UPDATE)[1] == 1
    # The last round ends with the run, which needs no reason.
    run.stop_reason = None
    write_round(tmp_path / "average", read_round(tmp_path / "average")[0], 2)
    plugin.on_start(run)
    train(plugin, run, 5)
    assert (run.iteration, run.stop_reason) == (10, None)
    assert read_round(tmp_path / UPDATE)[1] == 2


def test_resumed_client(client, tmp_path):
    plugin, run = client()
    plugin.on_start(run)
    train(plugin, run, 3)
    resumed = Federated(plugin.config)
    resumed.load_state_dict(plugin.state_dict())
    run.networks["generator"].weight.data.fill_(7)
    resumed.on_start(run)
    # The average of a round is read only once.
    assert run.networks["generator"].weight.tolist() == [7, 7]
    train(resumed, run, 9)
    assert run.iteration == 5
    # A client that has done its round stops again at once.
    run.stop_reason = None
    resumed.on_start(run)
    assert run.stop_reason.startswith("round 1 is complete")
    # An error came between the checkpoint and the record of the stop: the reason is still in the checkpoint.
    write_round(tmp_path / "average", read_round(tmp_path / "average")[0], 2)
    resumed.on_start(run)
    assert run.stop_reason is None
    assert resumed.state_dict() == {"round": 2, "begin": 5}


def test_client_without_an_average(tmp_path):
    plugin = Federated(Federated.Config(file=tmp_path / "average", every=5))
    with pytest.raises(InputError, match="average does not exist; `gankit federated` writes this file"):
        plugin.on_start(FakeRun(tmp_path))
