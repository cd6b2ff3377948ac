"""`gankit animate`: a run's pictures, from its first iterations to its last."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("animate")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", metavar="X.gif", required=True, type=click.Path(path_type=Path), help="Where to write it.")
def command(run: Path, out: Path) -> None:
    """Write the grids of RUN as an animated GIF: what becomes of the same z while the generator learns.

    The iteration stands under each; output.sample_every of the recipe decides how many there are. Grids of another
    size than the newest are left out: after output.sample_count has changed, they are of other z.
    """
    from gankit.animation import MOST_FRAMES, durations, gif, grid_frames, spread
    from gankit.cli.words import counted
    from gankit.errors import InputError
    from gankit.files import write_parts
    from gankit.picture_files import picture_size
    from gankit.run_dir import RunDir

    if out.suffix.lower() != ".gif":
        raise InputError(f"--out {out}: the animation is written as GIF; name a file that ends in .gif")
    if out.is_dir():
        raise InputError(f"--out {out}: a folder of that name is in the way")
    grids = RunDir.open(run).grids()
    sizes = [picture_size(path) for path in grids]
    alike = [path for path, size in zip(grids, sizes, strict=True) if size == sizes[-1]]
    if len(alike) < 2:
        raise InputError(
            f"{run} holds {counted(len(alike), 'grid')} to animate, and it takes two; a run with a smaller "
            "output.sample_every leaves more"
        )
    chosen = spread(alike, MOST_FRAMES)
    write_parts(out, gif(grid_frames(chosen), durations(len(chosen))))
    of = "" if len(chosen) == len(grids) else f" of {counted(len(grids), 'grid')}"
    click.echo(f"{counted(len(chosen), 'frame')}{of}: {out}")
