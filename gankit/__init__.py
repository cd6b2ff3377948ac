"""gankit: generative adversarial networks out of parts.

The names below are all that a plugin needs, and `Session`, `train` and `resume` for scripts and notebooks. They are
imported when first used, so that `gankit --help` waits for no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gankit.api import Session as Session
    from gankit.api import Trained as Trained
    from gankit.api import resume as resume
    from gankit.api import train as train
    from gankit.data.prepared import read_prepared as read_prepared
    from gankit.errors import GankitError as GankitError
    from gankit.errors import InputError as InputError
    from gankit.evaluation.feature_cache import cache_folder as cache_folder
    from gankit.evaluation.feature_cache import kept as kept
    from gankit.plugin.base import Plugin as Plugin
    from gankit.plugin.base import Settings as Settings
    from gankit.plugin.base import hookimpl as hookimpl
    from gankit.plugin.comparison import Comparison as Comparison
    from gankit.plugin.dataset import Dataset as Dataset
    from gankit.plugin.extractor import Extractor as Extractor
    from gankit.plugin.extractor import Features as Features
    from gankit.plugin.extractor import in_colour as in_colour
    from gankit.plugin.extractor import network_extractor as network_extractor
    from gankit.plugin.slots import Player as Player
    from gankit.plugin.spec import Spec as Spec
    from gankit.plugin.step import Judgement as Judgement
    from gankit.plugin.step import Source as Source
    from gankit.plugin.step import Step as Step
    from gankit.plugin.step import Term as Term
    from gankit.recipe.recipe import Recipe as Recipe
    from gankit.sampling.sampler import truncated as truncated
    from gankit.storage.atomic_io import write_bytes as write_bytes
    from gankit.training.run import Game as Game

from gankit.version import API_VERSION as API_VERSION
from gankit.version import __version__ as __version__

_HOME = {
    "Comparison": "gankit.plugin.comparison",
    "Extractor": "gankit.plugin.extractor",
    "Features": "gankit.plugin.extractor",
    "cache_folder": "gankit.evaluation.feature_cache",
    "in_colour": "gankit.plugin.extractor",
    "kept": "gankit.evaluation.feature_cache",
    "network_extractor": "gankit.plugin.extractor",
    "write_bytes": "gankit.storage.atomic_io",
    "Dataset": "gankit.plugin.dataset",
    "Game": "gankit.training.run",
    "GankitError": "gankit.errors",
    "InputError": "gankit.errors",
    "Judgement": "gankit.plugin.step",
    "Player": "gankit.plugin.slots",
    "Plugin": "gankit.plugin.base",
    "Recipe": "gankit.recipe.recipe",
    "Settings": "gankit.plugin.base",
    "Session": "gankit.api",
    "Source": "gankit.plugin.step",
    "Spec": "gankit.plugin.spec",
    "Step": "gankit.plugin.step",
    "Term": "gankit.plugin.step",
    "hookimpl": "gankit.plugin.base",
    "Trained": "gankit.api",
    "resume": "gankit.api",
    "train": "gankit.api",
    "read_prepared": "gankit.data.prepared",
    "truncated": "gankit.sampling.sampler",
}

__all__ = sorted([*_HOME, "API_VERSION", "__version__"])


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # a type checker knows the names above, and is to complain of any other

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        raise AttributeError(f"module 'gankit' has no attribute {name!r}")
