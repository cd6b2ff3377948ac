"""Fixtures for tests of plugins. pytest loads them when gankit is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gankit.training.run import TrainingRun

# Each fixture imports gankit.testing itself, so that test suites without these fixtures do not import torch.


@pytest.fixture
def tiny_run() -> Callable[..., TrainingRun]:
    """`gankit.testing.tiny_run`, which returns a tiny run with the plugins under test."""
    from gankit.testing import tiny_run

    return tiny_run


@pytest.fixture
def check_plugin() -> Callable[..., None]:
    """`gankit.testing.check_plugin`, which runs all checks of a plugin."""
    from gankit.testing import check_plugin

    return check_plugin


@pytest.fixture(params=["cpu", "cuda"])
def gankit_device(request: pytest.FixtureRequest) -> Any:
    """Name of a device: the test runs once for each, and is skipped if the machine does not have the device."""
    from gankit.testing import devices

    if request.param not in devices():
        pytest.skip(f"this machine has no {request.param}")
    return request.param
