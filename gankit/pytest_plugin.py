"""Fixtures for authors of plugins, which pytest finds when gankit is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gankit.training.run import TrainingRun

# gankit.testing is imported when a fixture is asked for: other people's test runs are to wait for no torch.


@pytest.fixture
def tiny_run() -> Callable[..., TrainingRun]:
    """`gankit.testing.tiny_run`: a game of milliseconds with plugins of yours in it."""
    from gankit.testing import tiny_run

    return tiny_run


@pytest.fixture
def check_plugin() -> Callable[..., None]:
    """`gankit.testing.check_plugin`: all that every plugin must hold."""
    from gankit.testing import check_plugin

    return check_plugin


@pytest.fixture(params=["cpu", "cuda"])
def gankit_device(request: pytest.FixtureRequest) -> Any:
    """Each device in turn; a test for one that is not there is skipped."""
    from gankit.testing import devices

    if request.param not in devices():
        pytest.skip(f"no {request.param} here")
    return request.param
