"""gankit: a plugin-based toolkit for generative adversarial networks.

For plugin authors, this package exports `Plugin`, `hookimpl` and related classes. For scripts and notebooks, the
package exports `Session`, `train` and `resume`. Each name is imported at its first use, so that `gankit --help` does
not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gankit.version import API_VERSION as API_VERSION
from gankit.version import __version__ as __version__

if TYPE_CHECKING:  # `X as X` marks the name X as re-exported for type checkers
    # Disable isort, because it would write a separate import statement for each name.
    # isort: off
    from gankit.api import Session as Session, Trained as Trained, resume as resume, train as train
    from gankit.api import iteration_cost as iteration_cost, step_memory as step_memory
    from gankit.data.load import DataTable as DataTable, load_dataset as load_dataset
    from gankit.data.prepared import prepare as prepare, read_prepared as read_prepared
    from gankit.errors import GankitError as GankitError, InputError as InputError
    from gankit.evaluation.feature_cache import cache_folder as cache_folder, disk_cache as disk_cache
    from gankit.explanation.explain import Explanation as Explanation, explain as explain
    from gankit.images.gif import write_gif as write_gif
    from gankit.images.grid import as_input as as_input, to_bytes as to_bytes, to_image as to_image
    from gankit.plugin.base import Plugin as Plugin, Settings as Settings, hookimpl as hookimpl
    from gankit.plugin.comparison import Comparison as Comparison
    from gankit.plugin.condition import ClassCondition as ClassCondition, Condition as Condition
    from gankit.plugin.condition import ImageCondition as ImageCondition, TokenCondition as TokenCondition
    from gankit.plugin.condition import VectorCondition as VectorCondition
    from gankit.plugin.dataset import Dataset as Dataset, FileFacts as FileFacts, Rows as Rows
    from gankit.plugin.extra_network import ExtraNetwork as ExtraNetwork
    from gankit.plugin.extractor import Extractor as Extractor, Features as Features
    from gankit.plugin.extractor import network_extractor as network_extractor, to_rgb as to_rgb
    from gankit.plugin.protocols import RecipeInfo as RecipeInfo, Run as Run
    from gankit.plugin.schedule import Schedule as Schedule, Scheduled as Scheduled, value_at as value_at
    from gankit.plugin.slots import Player as Player
    from gankit.plugin.spec import Spec as Spec
    from gankit.plugin.step import DiscriminatorOutput as DiscriminatorOutput, LossTerm as LossTerm
    from gankit.plugin.step import Source as Source, Step as Step, match_logits as match_logits
    from gankit.recipe.bundled import find_recipe as find_recipe
    from gankit.recipe.path import RecipePath as RecipePath
    from gankit.recipe.recipe import Recipe as Recipe
    from gankit.runtime.progress_bar import progress_bar as progress_bar
    from gankit.sampling.benchmark import Speed as Speed, benchmark as benchmark
    from gankit.sampling.directions import Directions as Directions, load_directions as load_directions
    from gankit.sampling.find_directions import find_directions as find_directions
    from gankit.sampling.grid import sample_grid as sample_grid
    from gankit.sampling.projection import Projection as Projection, project as project
    from gankit.sampling.sampler import Sampler as Sampler, truncated as truncated
    from gankit.storage.atomic_io import write_bytes as write_bytes
    from gankit.training.audit import Attack as Attack
    from gankit.training.audit import Audit as Audit
    from gankit.training.audit import audit as audit
    from gankit.sampling.merging import merge as merge, weighted_average as weighted_average
    from gankit.training.compression import Compression as Compression, compress as compress
    from gankit.training.augment_dataset import AugmentedDataset as AugmentedDataset
    from gankit.training.augment_dataset import augment_dataset as augment_dataset
    from gankit.training.cost import Cost as Cost
    from gankit.training.memory_check import StepMemory as StepMemory

_MODULES = {
    "api": ("Session", "Trained", "iteration_cost", "resume", "step_memory", "train"),
    "data.load": ("DataTable", "load_dataset"),
    "data.prepared": ("prepare", "read_prepared"),
    "errors": ("GankitError", "InputError"),
    "evaluation.feature_cache": ("cache_folder", "disk_cache"),
    "explanation.explain": ("Explanation", "explain"),
    "images.gif": ("write_gif",),
    "images.grid": ("as_input", "to_bytes", "to_image"),
    "plugin.base": ("Plugin", "Settings", "hookimpl"),
    "plugin.comparison": ("Comparison",),
    "plugin.condition": ("ClassCondition", "Condition", "ImageCondition", "TokenCondition", "VectorCondition"),
    "plugin.dataset": ("Dataset", "FileFacts", "Rows"),
    "plugin.extra_network": ("ExtraNetwork",),
    "plugin.extractor": ("Extractor", "Features", "network_extractor", "to_rgb"),
    "plugin.protocols": ("RecipeInfo", "Run"),
    "plugin.schedule": ("Schedule", "Scheduled", "value_at"),
    "plugin.slots": ("Player",),
    "plugin.spec": ("Spec",),
    "plugin.step": ("DiscriminatorOutput", "LossTerm", "Source", "Step", "match_logits"),
    "recipe.bundled": ("find_recipe",),
    "recipe.path": ("RecipePath",),
    "recipe.recipe": ("Recipe",),
    "runtime.progress_bar": ("progress_bar",),
    "sampling.benchmark": ("Speed", "benchmark"),
    "sampling.directions": ("Directions", "load_directions"),
    "sampling.find_directions": ("find_directions",),
    "sampling.grid": ("sample_grid",),
    "sampling.projection": ("Projection", "project"),
    "sampling.sampler": ("Sampler", "truncated"),
    "storage.atomic_io": ("write_bytes",),
    "training.audit": ("Attack", "Audit", "audit"),
    "sampling.merging": ("merge", "weighted_average"),
    "training.compression": ("Compression", "compress"),
    "training.augment_dataset": ("AugmentedDataset", "augment_dataset"),
    "training.cost": ("Cost",),
    "training.memory_check": ("StepMemory",),
}
_HOME = {name: f"gankit.{module}" for module, names in _MODULES.items() for name in names}

__all__ = sorted([*_HOME, "API_VERSION", "__version__"])


def __dir__() -> list[str]:
    return __all__


# Hide `__getattr__` from type checkers. Otherwise, they would accept any name as an attribute of this package.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        from gankit.suggest import new_name

        if (new := new_name(name, _HOME)) is not None:
            # Raise ImportError, because `from gankit import NAME` discards the message of an AttributeError.
            raise ImportError(f"gankit.{name} is called gankit.{new} now")
        raise AttributeError(f"module 'gankit' has no attribute {name!r}")
