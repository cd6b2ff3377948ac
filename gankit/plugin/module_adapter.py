"""Adapters that make a plain `nn.Module` usable as a generator, discriminator or extractor.

Example for a recipe: `use = "some_package.nets:Generator"`. The same table of the recipe contains the arguments of the
class's `__init__`.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict, Field, create_model
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from gankit.errors import InputError
from gankit.plugin.base import Plugin, Settings, hookimpl
from gankit.plugin.dataset import Dataset
from gankit.plugin.extractor import Extractor, network_extractor
from gankit.plugin.hooks import Hooks
from gankit.plugin.protocols import RecipeInfo
from gankit.plugin.slots import Kind
from gankit.plugin.spec import Spec
from gankit.plugin.step import DiscriminatorOutput
from gankit.runtime.rng import fork_rng


class _ModulePlugin(Plugin):
    """Base class of the plugin classes that `module_plugin` creates. Each created class wraps one `nn.Module` class."""

    module_class: type[nn.Module]

    own_settings: ClassVar[dict[str, Any]] = {}
    """Settings of the plugin that are not arguments of the module's `__init__`, such as `weights`, by name.

    A setting is left out if `__init__` has an argument of the same name.
    """

    def build(self) -> nn.Module:
        # Pass only the arguments that the recipe sets. A default value of `__init__` may have a type that a setting
        # cannot have.
        arguments = self.config.model_dump(exclude_unset=True, exclude=set(self.own_settings))
        try:
            return self.module_class(**arguments)
        except TypeError as error:
            raise InputError(f"{self.module_class.__name__} cannot be built with {arguments}: {error}") from error


class _ModulePlayer(_ModulePlugin):
    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> list[str]:
        place = f"normalization.{self.kind}"
        probe = nn.Linear(1, 1)
        hooks = Hooks({place: recipe.components[place].build()})
        # Return no warning if the normalisation is `none`, or if the normalisation plugin wraps the finished network,
        # as spectral norm does. Wrapping has an effect even if the network does not call `spec.normalize`.
        if hooks.of("wrap_network") or hooks.one("normalization", self.kind, probe, 1) is probe:
            return []
        return [
            f"{place} = {recipe.use_of(place)} has no effect, because {self.module_class.__name__} builds its own "
            "layers; remove it, and normalise inside the network"
        ]


class _ModuleGenerator(_ModulePlayer):
    kind = "generator"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = spec.condition is not None and condition_parameter(self.module_class) is not None

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return ConditionAdapter(self.build())


class _ModuleDiscriminator(_ModulePlayer):
    kind = "discriminator"

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return DiscriminatorAdapter(ConditionAdapter(self.build()))


class _ModuleExtractor(_ModulePlugin):
    kind = "extractor"
    own_settings: ClassVar[dict[str, Any]] = {
        "weights": (Path | None, Field(None, description="safetensors file with the state_dict of the network")),
        "size": (int | None, Field(None, ge=1, description="size in pixels to which images are resized, bilinearly")),
        "dataset_classes": (bool, Field(False, description="the logits are of the classes of the dataset")),
    }

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        settings = {name: getattr(self.config, name) for name in self.own_settings}
        with fork_rng(device):  # without a weights file, a fixed seed gives all runs the same initial weights
            network = self.build()
        if settings.get("weights") is not None:
            load_weights(network, settings["weights"])
        state = {name: t.cpu().contiguous().clone() for name, t in network.state_dict().items()}
        digest = hashlib.sha256(save(state))
        digest.update(Path(inspect.getfile(self.module_class)).read_bytes())
        return network_extractor(
            network.to(device).eval(),
            device,
            f"{self.module_class.__name__} {digest.hexdigest()[:12]}",
            settings.get("size"),
            dataset.class_names if settings.get("dataset_classes") else (),
        )


BASES: dict[Kind, type[_ModulePlugin]] = {
    "generator": _ModuleGenerator,
    "discriminator": _ModuleDiscriminator,
    "extractor": _ModuleExtractor,
}
"""Base class of wrapper plugins, by kind. A wrapper turns a plain `nn.Module` into a plugin.

The other kinds of plugins cannot be an `nn.Module`.
"""


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights from a safetensors file into a network.

    Raises:
        InputError: the file cannot be read, or its weights do not fit the network.
    """
    try:
        network.load_state_dict(load(path.read_bytes()))
    except OSError as error:
        raise InputError(f"weights: {path} cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise InputError(f"weights: {path} is not a safetensors file: {error}") from error
    except RuntimeError as error:
        raise InputError(
            f"weights: {path} does not fit {type(network).__name__}: {' '.join(str(error).split())}"
        ) from error


CONDITION_NAMES = ("condition", "cond", "labels", "label", "y", "c", "classes", "class_labels")
"""Usual names of the argument for the condition in the `forward` method of a network."""


class ConditionAdapter(nn.Module):
    """Wrapper that passes the condition to a network only if `forward` has an argument for the condition."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        parameter = condition_parameter(type(network))
        self.takes_condition = parameter is not None
        named = parameter is not None and parameter.kind is not parameter.POSITIONAL_ONLY
        self.name = parameter.name if parameter is not None and named else None

    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        if not self.takes_condition:
            return self.network(x)
        return self.network(x, condition) if self.name is None else self.network(x, **{self.name: condition})


def condition_parameter(module_class: type[nn.Module]) -> inspect.Parameter | None:
    """Return the parameter of a network's `forward` that receives the condition, or None if there is no such parameter.

    The first parameter takes z or the images. If `forward` has `*args`, the condition is passed in `*args`. Otherwise,
    the condition is passed to the first other parameter with a usual name, such as `y`. If no parameter has a usual
    name, the condition is passed to the first other parameter without a default value. A parameter such as
    `temperature=1.0` never receives the condition.
    """
    parameters = list(inspect.signature(module_class.forward).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return parameter.replace(kind=parameter.POSITIONAL_ONLY)
    others = [p for p in parameters[1:] if p.kind is not p.VAR_KEYWORD]
    named = [p for p in others if p.name in CONDITION_NAMES]
    required = [p for p in others if p.default is p.empty]
    return next(iter(named + required), None)


class DiscriminatorAdapter(nn.Module):
    """Wrapper for a discriminator network whose output is logits, or a tuple of logits, features and further outputs.

    The wrapper always returns a `DiscriminatorOutput`. If the network returns no features, the logits are used as
    features. Logits with one value per image, such as (B, 1), are reshaped to (B,).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, condition: Tensor | None) -> DiscriminatorOutput:
        output = self.network(images, condition)
        logits, features, *extra = output if isinstance(output, tuple) else (output, output)
        if logits.numel() == logits.shape[:1].numel():
            logits = logits.flatten()
        return DiscriminatorOutput(logits, features.flatten(1) if features.dim() > 1 else features[:, None], *extra)


def module_plugin(module_class: type[nn.Module], kind: Kind) -> type[Plugin]:
    """Return a plugin class of the given kind that wraps an `nn.Module` class.

    The settings of the plugin are the arguments of the module's `__init__`.
    """
    fields: dict[str, Any] = {}
    any_setting = False
    for parameter in list(inspect.signature(module_class.__init__).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            any_setting = True
        # Skip arguments with a leading underscore, because such arguments are internal, and pydantic does not allow
        # their names.
        elif parameter.kind is not parameter.VAR_POSITIONAL and not parameter.name.startswith("_"):
            default = ... if parameter.default is parameter.empty else _as_toml(parameter.default)
            fields[parameter.name] = (Any, Field(default))
    base = BASES[kind]
    own_settings = {name: field for name, field in base.own_settings.items() if name not in fields}
    name = module_class.__name__
    settings = create_model(
        f"{name}Config", __base__=_AnySettings if any_setting else Settings, **fields, **own_settings
    )
    attributes = {"name": name, "Config": settings, "module_class": module_class, "own_settings": own_settings}
    return type(name, (base,), {"__doc__": module_class.__doc__, **attributes})


def _as_toml(value: Any) -> Any:
    """Convert an argument's default value to a TOML value, for example a tuple to a list.

    Return None if TOML has no such value.
    """
    if isinstance(value, (list, tuple)) and all(_as_toml(v) is not None for v in value):
        return [_as_toml(v) for v in value]
    return value if isinstance(value, (bool, int, float, str)) else None


class _AnySettings(Settings):
    model_config = ConfigDict(extra="allow")
