"""A batch that cannot fit into the memory is refused before the networks are built."""

import pytest

from gankit import InputError
from gankit.training import memory_check


@pytest.mark.parametrize(("train", "images"), [({}, 4), ({"accumulate": 2}, 2)])
def test_a_batch_that_cannot_fit_is_refused(toy_run, monkeypatch, train, images):
    monkeypatch.setattr("gankit.training.assembly.build_networks", lambda run: pytest.fail("networks are built"))
    data = {"resolution": 8, "channels": 1}
    needed = []
    monkeypatch.setattr(memory_check, "memory_limit", lambda: 1)
    real = memory_check.least_bytes
    monkeypatch.setattr(memory_check, "least_bytes", lambda *a: needed.append(real(*a)) or needed[-1])
    with pytest.raises(
        InputError, match=r"train\.batch_size: the images of one step take at least .* train\.accumulate"
    ):
        toy_run(train={"batch_size": 4, **train}, data=data)
    assert needed[0] >= images * 4 * 2 * 64


def test_a_batch_that_fits_exactly_is_not_refused(toy_run, monkeypatch):
    run = toy_run()
    needed = memory_check.least_bytes(run.recipe, run.spec, 1)
    monkeypatch.setattr(memory_check, "memory_limit", lambda: needed)
    toy_run()
    monkeypatch.setattr(memory_check, "memory_limit", lambda: None)
    toy_run()
