"""pytest fixtures for tests of plugins. pytest loads them automatically if gankit is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gankit.training.run import TrainingRun

# Import gankit.testing inside each fixture, so that a test suite without these fixtures does not import torch.


@pytest.fixture
def tiny_run() -> Callable[..., TrainingRun]:
    """Return the function `gankit.testing.tiny_run`, which builds a tiny run with the plugins under test."""
    from gankit.testing import tiny_run

    return tiny_run


@pytest.fixture
def check_plugin() -> Callable[..., None]:
    """Return the function `gankit.testing.check_plugin`, which runs all checks on a plugin."""
    from gankit.testing import check_plugin

    return check_plugin


@pytest.fixture(params=["cpu", "accelerator"])
def gankit_device(request: pytest.FixtureRequest) -> Any:
    """Return a device name. A test with this fixture runs on the CPU, and again on the accelerator if there is one."""
    from gankit.testing import devices

    if request.param == "cpu":
        return "cpu"
    if len(devices()) == 1:
        pytest.skip("this machine has no accelerator")
    return devices()[1]
