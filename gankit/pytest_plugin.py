"""Pytest fixtures for plugin authors. Pytest loads them if gankit is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gankit.training.run import TrainingRun

# gankit.testing is imported in the fixtures, so that test runs without them do not import torch.


@pytest.fixture
def tiny_run() -> Callable[..., TrainingRun]:
    """Return `gankit.testing.tiny_run`, which assembles a run of milliseconds with your plugins."""
    from gankit.testing import tiny_run

    return tiny_run


@pytest.fixture
def check_plugin() -> Callable[..., None]:
    """Return `gankit.testing.check_plugin`, which checks the common requirements of plugins."""
    from gankit.testing import check_plugin

    return check_plugin


@pytest.fixture(params=["cpu", "cuda"])
def gankit_device(request: pytest.FixtureRequest) -> Any:
    """Return each device in turn. Tests for a missing device are skipped."""
    from gankit.testing import devices

    if request.param not in devices():
        pytest.skip(f"{request.param} is not available")
    return request.param
