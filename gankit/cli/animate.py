"""`gankit animate`: a run's pictures, from its first iterations to its last."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("animate")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", metavar="X.gif", required=True, type=click.Path(path_type=Path), help="Where to write it.")
def command(run: Path, out: Path) -> None:
    """Write the grids of RUN as an animated GIF: what becomes of the same z while the generator learns.

    The iteration stands under each; output.sample_every of the recipe decides how many there are. Grids of other z than
    the newest are left out, as they are after output.sample_count has changed, and so are damaged ones.
    """
    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.images.gif import MOST_FRAMES, durations, gif, grid_frames, spread
    from gankit.images.grid_metadata import group_by_z
    from gankit.images.io import is_whole, image_size
    from gankit.storage.atomic_io import write_parts
    from gankit.storage.run_dir import RunDir

    if out.suffix.lower() != ".gif":
        raise InputError(f"--out {out}: the animation is written as GIF; name a file that ends in .gif")
    if out.is_dir():
        raise InputError(f"--out {out}: a folder of that name is in the way")
    grids = RunDir.open(run).grids()
    sorted_out = group_by_z(grids)
    # Frames are of one size, whatever a plugin that draws them itself may have changed.
    alike = [path for path in sorted_out.alike if image_size(path) == image_size(sorted_out.alike[-1])]
    chosen = spread(alike, MOST_FRAMES)
    # Looked at before: how long a frame is seen depends on how many there are.
    frames = [path for path in chosen if is_whole(path)]
    for path in [*sorted_out.damaged, *(path for path in chosen if path not in frames)]:
        click.echo(f"{path} is damaged and left out")
    if len(frames) < 2:
        raise InputError(
            f"{run} holds {plural(len(frames), 'grid')} to animate, and it takes two; a run with a smaller "
            "output.sample_every leaves more"
        )
    write_parts(out, gif(grid_frames(frames), durations(len(frames))))
    of = "" if len(frames) == len(grids) else f" of {plural(len(grids), 'grid')}"
    click.echo(f"{plural(len(frames), 'frame')}{of}: {out}")
