"""`gankit animate`: write the image grids of a run as an animated GIF."""

from pathlib import Path

import click

from gankit.cli.arguments import check_output_file


@click.command("animate")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", metavar="X.gif", required=True, type=click.Path(path_type=Path), help="File to write.")
def command(run: Path, out: Path) -> None:
    """Write the image grids of RUN as an animated GIF. The GIF shows how the samples change during training.

    The caption of each frame is the iteration of its grid. The setting output.sample_every is the number of iterations
    between two grids. The GIF contains only grids whose images have the same z as the images of the newest grid. For
    example, grids from before a change of output.sample_count have another z. Damaged grids are left out too.
    """
    from gankit.errors import InputError
    from gankit.formatting import plural
    from gankit.images.gif import MOST_FRAMES, durations, gif, grid_frames, spread
    from gankit.images.grid_metadata import group_by_z
    from gankit.images.io import image_size, is_whole
    from gankit.storage.atomic_io import write_parts
    from gankit.storage.run_dir import RunDir

    check_output_file("--out", out, ".gif")
    grids = RunDir.open(run).grids()
    groups = group_by_z(grids)
    # All frames of a GIF must have the same size, but a plugin may draw grids of different sizes. Keep only the grids
    # that have the size of the newest grid.
    same_size = [path for path in groups.same_z if image_size(path) == image_size(groups.same_z[-1])]
    chosen = spread(same_size, MOST_FRAMES)
    # Remove damaged grids before the GIF is written, because the duration of a frame depends on the number of frames.
    frames = [path for path in chosen if is_whole(path)]
    for path in [*groups.damaged, *(path for path in chosen if path not in frames)]:
        click.echo(f"{path}: damaged, and left out")
    if len(frames) < 2:
        raise InputError(
            f"{run}: {plural(len(frames), 'grid')} to animate; at least two are needed; train with a smaller "
            "output.sample_every"
        )
    write_parts(out, gif(grid_frames(frames), durations(len(frames))))
    total = "" if len(frames) == len(grids) else f" of {plural(len(grids), 'grid')}"
    click.echo(f"{plural(len(frames), 'frame')}{total}: {out}")
