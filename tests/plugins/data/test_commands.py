"""Commands of the program on the user's own data: prepare, validate, run, resume and eval."""

import io
import shutil
import tarfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gankit import write_gif
from gankit.cli import cli, run_command_line
from gankit.data.prepared import read_prepared
from tests.plugins.data.image_files import encoded, plain

SMALL = [
    "train.batch_size=4",
    "train.device=cpu",
    "generator.width=4",
    "discriminator.width=4",
    "output.sample_count=4",
]
SMALL += ["latent.size=4", "train.precision=fp32", "output.checkpoint_every=1", "output.sample_every=2"]


def numpy_file(folder):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (12, 64, 64, 3), np.uint8), (np.arange(12) % 2)[:, None]
    np.savez(folder / "x.npz", train_images=images, train_labels=labels, test_images=images[:5], test_labels=labels[:5])
    return "x.npz", []


def archives(folder):
    for shard in range(2):
        with tarfile.open(folder / f"x-{shard}.tar", "w") as archive:
            for number in range(6):
                for name, content in (
                    (f"{number}.png", encoded(plain("RGB", (20 * number, 90 * shard, 7)))),
                    (f"{number}.cls", str(number % 2).encode()),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return '"x-{0..1}.tar"', ["resolution=64"]


def gankit(*arguments):
    result = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert result.exit_code == 0, f"{arguments}: {result.exception!r} {result.output}"
    return result.output


@pytest.mark.parametrize(("use", "write"), [("numpy", numpy_file), ("webdataset", archives)])
def test_all_commands(use, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    path, settings = write(tmp_path)
    assert "12 images of 3x64x64, 2 classes" in gankit(
        "prepare", use, "--out", "x.safetensors", f"path={path}", *settings
    )
    assert read_prepared(tmp_path / "x.safetensors").class_names == ("0", "1")
    data = [f"data.use={use}", f"data.path={path}", *(f"data.{setting}" for setting in settings)]
    assert "3x64x64, 2 classes: 0, 1" in gankit("validate", "own_images", *data)
    gankit("run", "own_images", *data, *SMALL, "train.iterations=3", "--out", "whole")
    gankit("run", "own_images", *data, *SMALL, "train.iterations=1", "--out", "resumed")
    gankit("resume", "resumed", "train.iterations=3")
    last = "checkpoints/000003/discriminator.safetensors"
    assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "resumed" / last).read_bytes()
    assert "frechet_distance" in gankit("eval", "whole", "--extractor", "pixels", "--count", "8")


def test_commands_for_video(tmp_path, monkeypatch):
    """From a folder of GIFs to moving samples, which need the generator file alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    for name, grey in (("run", 40), ("walk", 160)):
        (tmp_path / "clips" / name).mkdir(parents=True)
        for number in range(6):
            frames = [plain("L", grey + 10 * number + t, (8, 8)) for t in range(4)]
            write_gif(tmp_path / "clips" / name / f"{number}.gif", frames, 10)
    settings = ["path=clips", "frames=4", "resolution=8"]
    assert "of 3x4x8x8, 2 classes" in gankit("prepare", "videos", "--out", "x.safetensors", *settings)
    small = [*SMALL, "data.path=x.safetensors", "data.frames=4", "data.resolution=8", "evaluation.count=8"]
    assert "3x4x8x8, 2 classes: run, walk" in gankit("validate", "own_videos", *small)
    gankit("run", "own_videos", *small, "train.iterations=3", "--out", "whole")
    gankit("run", "own_videos", *small, "train.iterations=1", "--out", "resumed")
    gankit("resume", "resumed", "train.iterations=3")
    last = "checkpoints/000003/discriminator.safetensors"
    assert (tmp_path / "whole" / last).read_bytes() == (tmp_path / "resumed" / last).read_bytes()
    assert "frechet_distance" in gankit("eval", "whole", "--count", "8")
    (tmp_path / "whole" / "generator.safetensors").rename(tmp_path / "g.safetensors")
    for folder in ("whole", "resumed", "clips"):
        shutil.rmtree(tmp_path / folder)
    gankit("sample", "g.safetensors", "--out", "new", "--count", "3", "data.fps=20")
    gankit("sample", "g.safetensors", "--out", "grid.gif", "--count", "6")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "000000_run.gif",
        "000001_walk.gif",
        "000002_run.gif",
    ]
    for file, size, milliseconds in (("new/000000_run.gif", (8, 8), 50), ("grid.gif", None, 120)):
        with Image.open(file) as image:
            assert (image.n_frames, image.info["duration"]) == (4, milliseconds)
            assert size in (None, image.size)


def test_a_mistake_is_one_sentence(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "x.npz", a=np.zeros((4, 8, 8)), b=np.zeros(4))
    assert run_command_line(["prepare", "numpy", "--out", "y.safetensors", "path=x.npz"]) == 2
    out, error = capfd.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert error.startswith("error: gankit prepare: data: images: ")
    assert not (tmp_path / "y.safetensors").exists()
