"""Size, speed and Frechet distance of compressed generators: narrower ones, pruned ones, and weights in 8 bits.

    OMP_NUM_THREADS=1 python benchmarks/compression.py RUN --out FOLDER

RUN is a trained run of a recipe with the setting generator.width, such as dcgan_mnist. A file that exists in FOLDER is
not made again. The second table is dynamic quantisation of torch, which gankit does not offer.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from timing import interleaved, machine, parser_of, table
from torch import nn

from gankit import Sampler, compress
from gankit.evaluation.standalone import evaluate
from gankit.sampling.benchmark import compare_latency, size_of

VARIANTS: dict[str, tuple[dict[str, Any], bool]] = {
    "width 16": ({"overrides": ["generator.width=16"]}, True),
    "width 16, without D": ({"overrides": ["generator.width=16"]}, False),
    "width 8": ({"overrides": ["generator.width=8"]}, True),
    "pruned by 50%": ({"share": 0.5}, True),
    "pruned by 50%, not trained": ({"share": 0.5, "iterations": 0}, True),
    "pruned by 75%": ({"share": 0.75}, True),
    "8 bits": ({"int8": True}, False),
}
"""Arguments of `compress` by name, and whether D of the run is used."""

BATCHES = (1, 16)


def measure(name: str, run: Path, folder: Path, iterations: int, count: int) -> dict[str, Any]:
    """Compress the generator of a run in one way, and return its figures. They are stored beside the file."""
    file, stored = folder / f"{name}.safetensors", folder / f"{name}.json"
    if stored.exists():
        return json.loads(stored.read_text(encoding="utf-8"))
    original, result = run / "generator.safetensors", {"seconds": 0.0, "distance": 0.0}
    if name != "original":
        arguments, with_discriminator = VARIANTS[name]
        start = time.process_time()
        done = compress(run if with_discriminator else original, file, **{"iterations": iterations} | arguments)
        result = {"seconds": time.process_time() - start, "distance": done.distance}
    path = original if name == "original" else file
    samplers = [Sampler.load(original, "cpu"), Sampler.load(path, "cpu")]
    size = size_of(samplers[1], path)
    times = {str(batch): [row.median for row in compare_latency(samplers, batch)] for batch in BATCHES}
    changes = {"evaluation": {"count": count}, "extractor": {"use": "bundled"}}
    metrics = evaluate(path, None, changes, "cpu", metrics=("frechet_distance",))["metrics"]
    result |= {"size": size._asdict(), "times": times, "frechet_distance": metrics["frechet_distance"]}
    stored.write_text(json.dumps(result), encoding="utf-8")
    return result


def row(name: str, result: dict[str, Any]) -> list[str]:
    """Return a row of the first table."""
    size, times = result["size"], result["times"]
    return [
        name,
        f"{size['bytes'] / 1e6:.2f} MB",
        f"{size['multiply_adds'] / 1e6:.2f} million",
        *(f"{1000 * new:.2f} ms, {old / new:.1f}" for old, new in (times[str(batch)] for batch in BATCHES)),
        f"{result['distance']:.4f}",
        f"{result['frechet_distance']:.1f}",
        f"{result['seconds']:.0f} s",
    ]


def dynamic_quantisation(rounds: int) -> list[list[str]]:
    """Return the rows of the second table: times of linear layers in float32 and with dynamic quantisation."""
    torch.manual_seed(0)
    layers = (nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 784), nn.Tanh())
    network, rows = nn.Sequential(*layers).eval(), []
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, torch.qint8)
        for batch in BATCHES:
            z = torch.randn(batch, 128)
            result = interleaved({"float32": lambda: network(z), "int8": lambda: quantised(z)}, rounds)  # noqa: B023
            rows.append([batch, *(f"{result.milliseconds(name):.3f} ms" for name in ("float32", "int8"))])
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path, help="directory of a trained run")
    parser.add_argument("--out", type=Path, default=Path("compressed"), help="folder for the files")
    parser.add_argument("--iterations", type=int, default=600, help="training steps")
    parser.add_argument("--count", type=int, default=2000, help="images for the Frechet distance")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    heads = ["generator", "file", "multiply-adds", "batch 1, speed-up", "batch 16, speed-up", "difference"]
    names = ["original", *VARIANTS]
    rows = [row(name, measure(name, options.run, options.out, options.iterations, options.count)) for name in names]
    print(machine())
    print("\n".join(table([*heads, "Frechet distance", "CPU time"], rows)))
    print("\n".join(table(["batch", "float32", "dynamic int8"], dynamic_quantisation(200))))


if __name__ == "__main__":
    main()
