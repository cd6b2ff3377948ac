"""`gankit push`: upload a generator to the Hugging Face Hub, with its recipe, a model card and sample images."""

from __future__ import annotations

from pathlib import Path

import click

from gankit.cli.arguments import load_with_content, sources_of
from gankit.cli.status_line import StatusLine


@click.command("push")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("address", metavar="hf://USER/NAME")
@click.option("--private", is_flag=True, help="Create a private repository. A public one is refused.")
@click.option("--message", metavar="TEXT", help="Message of the commit. Default: the recipe and the iteration.")
@click.option("--replace-card", is_flag=True, help="Replace an existing README.md.")
@click.option(
    "--input",
    "sources",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Source images for samples.png, if the generator takes source images.",
)
@click.option("--trust", is_flag=True, help="Import the Python files and modules that FILE names.")
def command(
    file: Path,
    address: str,
    private: bool,
    message: str | None,
    replace_card: bool,
    sources: Path | None,
    trust: bool,
) -> None:
    """Upload the generator in FILE, a generator.safetensors file or a run directory, to the Hugging Face Hub.

    The repository gets four files in one commit: generator.safetensors, recipe.toml, samples.png (a grid that is drawn
    now) and README.md (a model card with the recipe, the metrics of the run, and the command to draw images). If the
    repository does not exist, the command creates it. An existing README.md is kept.

    The recipe contains the paths of your data. All who can read the repository can read them.

    The command needs pip install 'gankit[hub]', and a login: hf auth login.

    \b
    gankit push RUN hf://ann/shapes --private
    gankit sample hf://ann/shapes --out samples.png
    """
    from gankit.errors import InputError
    from gankit.storage.hub import CARD, GENERATOR, PAGE, parse_address, upload

    target = parse_address(address)
    if target.revision:
        raise InputError(f"{address}: an upload goes to the newest commit; leave out @{target.revision}")
    with StatusLine() as status:
        status.show("importing torch")
        import tomli_w

        from gankit.images.io import png_bytes
        from gankit.report.model_card import metrics_at, model_card
        from gankit.sampling.grid import draw_grid, grid_layout

        sampler, content = load_with_content(file, trust)
        card = sampler.card
        status.show("drawing samples")
        given = None if sources is None else sources_of(sampler, sources).images
        layout = grid_layout(sampler, 64 if given is None else len(given), sources=given)
        grid = draw_grid(sampler, sampler.latent(layout.total, layout.condition, seed=0), layout)
        text = model_card(str(target), card, sampler.condition, metrics_at(file, card["iteration"]))
    files = {
        GENERATOR: content,
        "recipe.toml": tomli_w.dumps(card["recipe"]).encode(),
        "samples.png": png_bytes(grid),
        CARD: text.encode(),
    }
    name = card["recipe"].get("name", "generator")
    names = upload(target, files, message or f"{name}, iteration {card['iteration']}", private, replace_card)
    click.echo(f"{target}: {', '.join(names)}")
    if CARD not in names:
        click.echo(f"{CARD} exists already and is kept; --replace-card replaces it")
    click.echo(f"{PAGE}{target.repository}")
