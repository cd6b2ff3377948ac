"""gankit: generative adversarial networks out of parts.

The names below are all that a plugin needs, and `Session`, `train` and `resume` for scripts and notebooks. They are
imported when first used, so that `gankit --help` waits for no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gankit.dataset import Dataset as Dataset
    from gankit.errors import GankitError as GankitError
    from gankit.errors import InputError as InputError
    from gankit.evaluation.comparison import Comparison as Comparison
    from gankit.evaluation.comparison import Extractor as Extractor
    from gankit.evaluation.comparison import Features as Features
    from gankit.evaluation.network import in_colour as in_colour
    from gankit.evaluation.network import network_extractor as network_extractor
    from gankit.evaluation.store import cache_folder as cache_folder
    from gankit.evaluation.store import kept as kept
    from gankit.files import write_bytes as write_bytes
    from gankit.game import Game as Game
    from gankit.kinds import Player as Player
    from gankit.plugin import Plugin as Plugin
    from gankit.plugin import Settings as Settings
    from gankit.plugin import hookimpl as hookimpl
    from gankit.prepared import read_prepared as read_prepared
    from gankit.recipe import Recipe as Recipe
    from gankit.sampling import truncated as truncated
    from gankit.session import Session as Session
    from gankit.session import Trained as Trained
    from gankit.session import resume as resume
    from gankit.session import train as train
    from gankit.spec import Spec as Spec
    from gankit.step import Judgement as Judgement
    from gankit.step import Source as Source
    from gankit.step import Step as Step
    from gankit.step import Term as Term

__version__ = "0.1.0"

API_VERSION = 2
"""Of the hook points. It grows when one is added, and a plugin that needs the new one says so by its `api_version`.
Arguments are added without a new version: an implementation names those that it takes."""

_HOME = {
    "Comparison": "gankit.evaluation.comparison",
    "Extractor": "gankit.evaluation.comparison",
    "Features": "gankit.evaluation.comparison",
    "cache_folder": "gankit.evaluation.store",
    "in_colour": "gankit.evaluation.network",
    "kept": "gankit.evaluation.store",
    "network_extractor": "gankit.evaluation.network",
    "write_bytes": "gankit.files",
    "Dataset": "gankit.dataset",
    "Game": "gankit.game",
    "GankitError": "gankit.errors",
    "InputError": "gankit.errors",
    "Judgement": "gankit.step",
    "Player": "gankit.kinds",
    "Plugin": "gankit.plugin",
    "Recipe": "gankit.recipe",
    "Settings": "gankit.plugin",
    "Session": "gankit.session",
    "Source": "gankit.step",
    "Spec": "gankit.spec",
    "Step": "gankit.step",
    "Term": "gankit.step",
    "hookimpl": "gankit.plugin",
    "Trained": "gankit.session",
    "resume": "gankit.session",
    "train": "gankit.session",
    "read_prepared": "gankit.prepared",
    "truncated": "gankit.sampling",
}

__all__ = sorted([*_HOME, "API_VERSION", "__version__"])


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a type checker knows the names above, and is to complain of any other

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        raise AttributeError(f"module 'gankit' has no attribute {name!r}")
