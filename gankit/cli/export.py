"""`gankit export`: write a generator as an ONNX, TorchScript or torch.export file, for other programs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from gankit.cli.arguments import check_output_file, load_with_content
from gankit.cli.status_line import StatusLine


@click.command("export")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--onnx", metavar="X.onnx", type=click.Path(path_type=Path), help="ONNX file to write.")
@click.option("--torchscript", metavar="X.pt", type=click.Path(path_type=Path), help="TorchScript file to write.")
@click.option("--torch-export", metavar="X.pt2", type=click.Path(path_type=Path), help="torch.export file to write.")
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    overrides: tuple[str, ...],
    onnx: Path | None,
    torchscript: Path | None,
    torch_export: Path | None,
    trust: bool,
) -> None:
    """Write the generator in FILE, a generator.safetensors file or a run directory, for programs without gankit.

    The exported function takes z (batch, latent size) and, for a conditional generator, the labels (batch,). It returns
    images in [-1, 1], as float32. The batch size is free. Random numbers inside the generator, such as the noise of
    StyleGAN, are drawn once and stored.

    After writing, each file is loaded again. Its images must equal those of the network. The command prints the largest
    difference. An existing file is replaced.

    KEY=VALUE changes a setting of a plugin that is used for sampling, such as generator.psi=0.7.

    \b
    gankit export RUN --onnx generator.onnx                   for onnxruntime; needs pip install 'gankit[onnx]'
    gankit export RUN --torch-export generator.pt2            for PyTorch without gankit
    gankit export RUN generator.psi=0.7 --torchscript g.pt    for C++ and older programs
    """
    from gankit.errors import InputError

    requested = {"onnx": onnx, "torchscript": torchscript, "torch-export": torch_export}
    files = {name: path for name, path in requested.items() if path is not None}
    if not files:
        raise InputError(f"{file}: choose a format with --onnx, --torchscript or --torch-export")
    with StatusLine() as status:
        status.show("importing torch")
        from gankit.sampling.export import FORMATS, export, note_of, require_onnx
        from gankit.storage.atomic_io import write_bytes

        for name, path in files.items():
            check_output_file(f"--{name}", path, FORMATS[name].suffix)
        if onnx is not None:
            require_onnx()
        sampler, content = load_with_content(file, trust, overrides)
        facts = {"generator_sha256": hashlib.sha256(content).hexdigest(), "settings": list(overrides)}
        for name, path in files.items():
            status.show(f"exporting to {name}")
            result = export(sampler, name, facts)
            write_bytes(path, result.data)
            status.clear()
            opset = f", opset {result.note['opset']}" if "opset" in result.note else ""
            click.echo(f"{name}: {path}{opset}, largest difference from the network {result.difference:.1e}")
    note = note_of(sampler)
    for text in (*(f"{key}: {text}" for key, text in note["inputs"].items()), note["output"]):
        click.echo(f"  {text}")
    click.echo(f"  recipe {note['recipe']}, iteration {note['iteration']}")
