"""Help texts for the settings of a plugin, generated from its pydantic class `Config`."""

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gankit.plugin.schedule import Scheduled

BOUNDS = {"gt": "> {}", "ge": ">= {}", "lt": "< {}", "le": "<= {}", "multiple_of": "a multiple of {}"}
SIZES = {"min_length": "at least {} long", "max_length": "at most {} long", "pattern": "matching {}"}


def setting_rows(config: type[BaseModel], prefix: str = "") -> list[tuple[str, str]]:
    """Return the name and the help text of each setting in the class `config`.

    The help text contains the type, the bounds, the default value and the description. A setting in a nested table has
    the name `table.setting`.
    """
    rows = []
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            rows += setting_rows(field.annotation, f"{prefix}{name}.")
        else:
            kind = typed(field.annotation, field.metadata)
            meaning = f": {field.description}" if field.description else ""
            rows.append((prefix + name, f"{kind}, {default(field)}{meaning}"))
    return rows


def typed(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    """Return the TOML type of a setting and its bounds as text: `float >= 0`, `"relu" or "tanh"`, `[float, float]`."""
    bounds = [
        pattern.format(value)
        for constraint in metadata
        for part in (constraint.metadata if isinstance(constraint, FieldInfo) else [constraint])
        for name, pattern in (BOUNDS | SIZES).items()
        if (value := getattr(part, name, None)) is not None
    ]
    return " ".join([_type_name(annotation), ", ".join(bounds)]).strip()


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return typed(arguments[0], arguments[1:])
    if origin is Literal:
        return " or ".join(json.dumps(value) for value in arguments)
    if origin in (Union, types.UnionType):
        # Leave out the type None, because TOML has no null value.
        return " or ".join(typed(a) for a in arguments if a is not type(None))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"[{', '.join(typed(a) for a in arguments)}]"
    if origin in (list, tuple):
        return f"list of {typed(arguments[0])}"
    if origin is dict:
        return f"table of {typed(arguments[1])}"
    if annotation is Scheduled:
        return "float or schedule"
    if annotation is Path:
        return "path"
    if annotation is Any:
        return "anything"
    return getattr(annotation, "__name__", str(annotation))


def default(field: FieldInfo) -> str:
    """Return a setting's default as text: `default 0.1`, `required`, or `may be left out` if the default is None."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "may be left out" if value is None else f"default {json.dumps(value, default=str, ensure_ascii=False)}"
