"""Section of a report about an explanation, from the files of `gankit explain`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gankit.formatting import brief, plural
from gankit.report.sample_files import SampleFile, page_files
from gankit.report.table import Table

Record = Mapping[str, Any]
"""Content of `explanation.json`."""

KEYS = {"iteration", "shares", "layer", "units", "ablations", "rule_iou", "completeness_error"}
"""Keys of `explanation.json`."""


SHARES = ("area", "difference", "integrated_gradients", "occlusion")
"""Keys of the numbers about a part in `shares`."""


def read_explanation(folder: Path) -> Record | None:
    """Return the content of `explanation.json` in a folder, or None if there is no such file, or if it is damaged."""
    try:
        record = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.keys() >= KEYS else None


def summary(record: Record) -> list[str]:
    """Return one sentence about each part of an explanation."""
    lines = [f"iteration {record['iteration']}"]
    for share in record["shares"]:
        if share["part"] == record["shares"][0]["part"]:
            lines.append(
                f"D, {share['images']} images: {percent(share['integrated_gradients'])} of the integrated gradients "
                f"and {percent(share['occlusion'])} of the occlusion are in {share['part']!r}, which has "
                f"{percent(share['area'])} of the pixels"
            )
    if record["layer"] is None:
        lines.append("G has no layer with feature maps")
    else:
        layer = record["layer"]
        lines.append(
            f"G, layer {layer['name']}: {plural(layer['units'], 'unit')} of {layer['height']}x{layer['width']}"
        )
    for unit in record["units"]:
        known = f"{unit['part']!r}, IoU {unit['iou']:.2f}" if unit["part"] else f"mean {brief(unit['mean'])}"
        lines.append(f"  unit {unit['unit']}: {known}")
    for ablation in record["ablations"]:
        if ablation["part"] == record["ablations"][0]["part"]:
            lines.append(
                f"  {plural(len(ablation['units']), 'unit')} of {ablation['part']!r} set to zero: "
                f"{percent(ablation['remaining'])} of its pixels remain; "
                f"with random units {percent(ablation['random'][0])}"
            )
    return lines


def percent(value: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.1f}%"


def explanation_tables(record: Record) -> list[Table]:
    """Return the tables of an explanation: shares of D's attributions, units of G, and ablations."""
    tables = []
    if record["shares"]:
        headings = ["part", "images", "pixels", "difference from the baseline", "integrated gradients", "occlusion"]
        rows = [[s["part"], s["images"], *(percent(s[key]) for key in SHARES)] for s in record["shares"]]
        tables.append(Table(headings, rows, "D: share of the absolute attributions in each part", open=True))
    if record["units"]:
        layer = record["layer"]["name"]
        rows = [
            [
                str(u["unit"]),
                u["part"],
                f"{u['iou']:.2f}" if u["part"] else "",
                brief(u["mean"]),
                "; ".join(u["images"]),
            ]
            for u in record["units"]
        ]
        tables.append(
            Table(["unit", "part", "IoU", "mean activation", "images that excite it"], rows, f"G: units of {layer}")
        )
    if record["ablations"]:
        headings = ["part", "units set to zero", "pixels before", "remaining", "remaining with random units", "units"]
        rows = [
            [
                a["part"],
                str(len(a["units"])),
                percent(a["area"]),
                percent(a["remaining"]),
                "{} ({} to {})".format(*map(percent, a["random"])),
                ", ".join(map(str, a["units"][:8])) + (", ..." if len(a["units"]) > 8 else ""),
            ]
            for a in record["ablations"]
        ]
        tables.append(Table(headings, rows, "G: area of each part after ablation"))
    if record["rule_iou"]:
        rows = [[part, f"{value:.2f}"] for part, value in record["rule_iou"].items()]
        tables.append(Table(["part", "IoU"], rows, "Parts found in real images, compared with their true masks"))
    return tables


def explanation_pictures(folder: Path) -> list[SampleFile]:
    """Return the pictures in the folder of an explanation. The list is empty if the folder does not exist."""
    return page_files([{0: folder}]).files[0].get(0, [])
