"""Model card: a page in Markdown about a generator, with its recipe, metrics and sample images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from gankit.plugin.condition import Condition, ImageCondition
from gankit.report.run_record import Metric, read_run

HEADER = """\
---
library_name: gankit
tags:
- gan
- image-generation
---
"""


def metrics_at(path: Path, iteration: int) -> list[tuple[Metric, float]]:
    """Return the metrics of a run that were computed at an iteration.

    `path` is a run directory or a file in it. The list is empty if there is no run at this path.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / "recipe.toml").is_file():
        return []
    return [
        (metric, dict(points)[iteration])
        for metric, points in read_run(folder).metrics.items()
        if iteration in dict(points)
    ]


def metrics_table(metrics: Sequence[tuple[Metric, float]]) -> str:
    """Return a table of metrics in Markdown, and their protocols. Facts that all metrics share are below the table."""
    if not metrics:
        return "No metrics were computed for this generator.\n"
    shared = set.intersection(*(set(metric.protocol) for metric, _ in metrics))
    rows = ["| metric | value | computed with |", "| --- | --- | --- |"]
    for metric, value in metrics:
        own = [fact for fact in metric.protocol if fact not in shared]
        rows.append(f"| `{metric.name}` | {value:.4g} | {_cell(_facts(own))} |")
    return "\n".join([*rows, "", f"All: {_line(_facts(sorted(shared)))}.", ""])


def model_card(
    address: str, card: Mapping[str, Any], condition: Condition | None, metrics: Sequence[tuple[Metric, float]]
) -> str:
    """Return the text of a model card.

    Args:
        address: address of the repository, such as `hf://ann/shapes`.
        card: metadata of the generator file.
        condition: description of the generator's condition, or None.
        metrics: metrics of the generator.
    """
    recipe, spec = card["recipe"], card["spec"]
    shape, name = "x".join(map(str, spec["shape"])), _line(recipe.get("name", "?"))
    inputs = f"z of length {spec['latent_size']}" + (f" and {condition.describe()}" if condition else "")
    return f"""{HEADER}
# {_line(address.rpartition("/")[2])}

A generator of a generative adversarial network, trained with gankit from the recipe `{name}`. It generates samples of
shape {shape} from {_line(inputs)}. The weights are those of iteration {card["iteration"]}.

![Samples of the generator](samples.png)

## Use

```
pip install "gankit[hub]"
gankit sample {address} {"--input images " * isinstance(condition, ImageCondition)}--out samples.png
```

The file `generator.safetensors` contains weights and JSON, and no code.

{facts_section(card.get("facts", {}))}## Metrics

{metrics_table(metrics)}
## Recipe

```toml
{tomli_w.dumps(recipe).strip()}
```

gankit {card["gankit"]}, torch {card["torch"]}, plugins: {_line(plugins_of(card))}.

## Licence

Not stated. Name here the licence of the weights, and describe the training data.
"""


def facts_section(facts: Mapping[str, float | str]) -> str:
    """Return the section with the facts that plugins wrote into the generator file, or an empty text without facts."""
    if not facts:
        return ""
    rows = [f"| {_cell(name)} | {_cell(str(fact))} |" for name, fact in facts.items()]
    return "\n".join(["## Facts", "", "| fact | value |", "| --- | --- |", *rows, "", ""])


def plugins_of(card: Mapping[str, Any]) -> str:
    """Return the plugins that sampling needs, each with its distribution and version, as text."""
    records = [(key, card["plugins"].get(key, {})) for key in card["needed"]]
    return ", ".join(
        f"{key} = {r.get('use', '?')} {r.get('distribution', '')} {r.get('version', '')}".rstrip() for key, r in records
    )


def _facts(protocol: Sequence[tuple[str, str]]) -> str:
    return "; ".join(f"{name}: {fact}" for name, fact in protocol)


def _line(text: str) -> str:
    return " ".join(str(text).split()).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")
