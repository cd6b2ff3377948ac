"""Anybody's `nn.Module` in a network slot or as an extractor: `use = "some_package.nets:Generator"`, its arguments as
siblings."""

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


class _Foreign(Plugin):
    """A network that knows nothing of gankit."""

    module_class: type[nn.Module]

    beside: ClassVar[dict[str, Any]] = {}
    """Settings of gankit's, beside the arguments of `__init__`, which come first where names are the same."""

    def build(self) -> nn.Module:
        # What the recipe leaves out is left to `__init__`, whose defaults may be of any type.
        given = self.config.model_dump(exclude_unset=True, exclude=set(self.beside))
        try:
            return self.module_class(**given)
        except TypeError as error:
            raise InputError(f"{self.module_class.__name__} cannot be built with {given}: {error}") from error


class _ForeignPlayer(_Foreign):
    @hookimpl
    def check_recipe(self, recipe: RecipeInfo) -> list[str]:
        place = f"normalization.{self.kind}"
        probe = nn.Linear(1, 1)
        hooks = Hooks({place: recipe.components[place].build()})
        # What wraps the finished network too (spectral norm) needs nobody to ask it for layers.
        if hooks.of("wrap_network") or hooks.one("normalization", self.kind, probe, 1) is probe:
            return []
        return [
            f"{place} = {recipe.use_of(place)} does nothing, since {self.module_class.__name__} brings its own layers; "
            "drop it, and normalise inside the network"
        ]


class _ForeignGenerator(_ForeignPlayer):
    kind = "generator"

    @hookimpl
    def adjust_spec(self, spec: Spec) -> None:
        spec.conditional = spec.classes > 0 and label_place(self.module_class) is not None

    @hookimpl
    def build_generator(self, spec: Spec) -> nn.Module:
        return CalledWithLabels(self.build())


class _ForeignDiscriminator(_ForeignPlayer):
    kind = "discriminator"

    @hookimpl
    def build_discriminator(self, spec: Spec) -> nn.Module:
        return Judging(CalledWithLabels(self.build()))


class _ForeignExtractor(_Foreign):
    kind = "extractor"
    beside: ClassVar[dict[str, Any]] = {
        "weights": (Path | None, Field(None, description="a safetensors file of its state_dict")),
        "size": (int | None, Field(None, ge=1, description="pixels to which images are resized, bilinearly")),
        "dataset_classes": (bool, Field(False, description="its logits are of the dataset's classes")),
    }

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        settings = {name: getattr(self.config, name) for name in self.beside}
        with fork_rng(device):  # without weights of its own, at least the same ones each time
            network = self.build()
        if settings.get("weights") is not None:
            load_weights(network, settings["weights"])
        seen = hashlib.sha256(save({name: t.cpu().contiguous().clone() for name, t in network.state_dict().items()}))
        seen.update(Path(inspect.getfile(self.module_class)).read_bytes())
        return network_extractor(
            network.to(device).eval(),
            device,
            f"{self.module_class.__name__} {seen.hexdigest()[:12]}",
            settings.get("size"),
            dataset.class_names if settings.get("dataset_classes") else (),
        )


def load_weights(network: nn.Module, path: Path) -> None:
    """Raises InputError for a file that cannot be read, or that is of another network."""
    try:
        network.load_state_dict(load(path.read_bytes()))
    except OSError as error:
        raise InputError(f"weights: {path} cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise InputError(f"weights: {path} is no safetensors file: {error}") from error
    except RuntimeError as error:
        raise InputError(
            f"weights: {path} does not fit {type(network).__name__}: {' '.join(str(error).split())}"
        ) from error


LABEL_NAMES = ("labels", "label", "y", "c", "classes", "class_labels")
"""What networks call the classes of their images."""


class CalledWithLabels(nn.Module):
    """Hands the labels on only to a network whose `forward` has a place for them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        place = label_place(type(network))
        self.takes_labels = place is not None
        self.by_name = place.name if place is not None and place.kind is not place.POSITIONAL_ONLY else None

    def forward(self, x: Tensor, labels: Tensor | None) -> Any:
        if not self.takes_labels:
            return self.network(x)
        return self.network(x, labels) if self.by_name is None else self.network(x, **{self.by_name: labels})


def label_place(module_class: type[nn.Module]) -> inspect.Parameter | None:
    """The argument of `forward` that takes the labels: one of the usual names, or the second that it cannot do without.

    A second argument with a default and another name, `temperature=1.0`, is something else; `*args` takes all there is.
    """
    arguments = list(inspect.signature(module_class.forward).parameters.values())[1:]
    for argument in arguments:
        if argument.kind is argument.VAR_POSITIONAL:
            return argument.replace(kind=argument.POSITIONAL_ONLY)
    behind = [a for a in arguments[1:] if a.kind is not a.VAR_KEYWORD]
    called = [a for a in behind if a.name in LABEL_NAMES]
    needed = [a for a in behind if a.default is a.empty]
    return next(iter(called + needed), None)


class Judging(nn.Module):
    """A network that returns logits, or logits and features, as a discriminator."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, labels: Tensor | None) -> DiscriminatorOutput:
        output = self.network(images, labels)
        logits, features = output if isinstance(output, tuple) else (output, output)
        return DiscriminatorOutput(logits.flatten(), features.flatten(1) if features.dim() > 1 else features[:, None])


BASES: dict[Kind, type[_Foreign]] = {
    "generator": _ForeignGenerator,
    "discriminator": _ForeignDiscriminator,
    "extractor": _ForeignExtractor,
}
"""What a plain `nn.Module` can stand for."""


def module_plugin(module_class: type[nn.Module], kind: Kind) -> type[Plugin]:
    """A plugin class around a module class, its settings read off the arguments of `__init__`."""
    fields: dict[str, Any] = {}
    anything_else = False
    for parameter in list(inspect.signature(module_class.__init__).parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            anything_else = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            if parameter.name.startswith("_"):
                continue  # nobody's to set, and no name for a setting
            default = ... if parameter.default is parameter.empty else _as_toml(parameter.default)
            fields[parameter.name] = (Any, Field(default))
    base = BASES[kind]
    beside = {name: field for name, field in base.beside.items() if name not in fields}
    config = create_model(
        f"{module_class.__name__}Config",
        __base__=_AnySettings if anything_else else Settings,
        **fields,
        **beside,
    )
    return type(
        module_class.__name__,
        (base,),
        {
            "__doc__": module_class.__doc__,
            "name": module_class.__name__,
            "Config": config,
            "module_class": module_class,
            "beside": beside,
        },
    )


def _as_toml(value: Any) -> Any:
    """A default as a recipe can write it out; None, which recipes leave out, for what TOML has no form for."""
    if isinstance(value, (list, tuple)) and all(_as_toml(v) is not None for v in value):
        return [_as_toml(v) for v in value]
    return value if isinstance(value, (bool, int, float, str)) else None


class _AnySettings(Settings):
    model_config = ConfigDict(extra="allow")
