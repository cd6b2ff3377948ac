"""`gankit video`."""

import sys

import numpy
import pytest
from PIL import Image

from gankit.cli.video import gif_durations
from gankit.errors import GankitError
from gankit.images.io import read_image
from gankit.images.video import write_mp4

SHORT = ("--trust", "--seconds", "2", "--fps", "10", "--count", "4")


@pytest.fixture
def run(toy_run):
    return toy_run("run", "latent=./toy.py:Normal")


def frames(path):
    with Image.open(path) as opened:
        for number in range(opened.n_frames):
            opened.seek(number)
            yield numpy.asarray(opened.convert("L"), dtype=float), opened.info["duration"]


def steps(pictures):
    """Return the mean absolute difference of each frame to the next one, and of the last to the first."""
    return [abs(a - b).mean() for a, b in zip(pictures, [*pictures[1:], pictures[0]], strict=True)]


def test_gif_of_a_run_is_a_smooth_loop(gankit, run):
    answer = gankit("video", "run", "--out", "deep/walk.gif", *SHORT)
    assert (answer.code, answer.out, answer.err) == (0, "20 frames of 4 images: deep/walk.gif\n", "")
    pictures, durations = zip(*frames("deep/walk.gif"), strict=True)
    assert durations == (100,) * 20
    assert gankit("sample", "run", "--out", "grid.png", "--count", "4", "--trust").code == 0
    grid = read_image("grid.png")
    assert pictures[0].tolist() == numpy.asarray(grid.convert("L")).tolist()
    changes = steps(pictures)
    assert min(changes) > 0
    # The last frame is as near to the first as other frames are to the next.
    assert changes[-1] < 1.5 * max(changes[:-1])
    assert changes[-1] < abs(pictures[0] - pictures[10]).mean()


def test_generator_file_gives_the_bytes_of_its_run_and_a_seed_changes_them(gankit, run):
    inputs = (("run",), ("run/generator.safetensors",), ("run", "--seed", "1"))
    for number, arguments in enumerate(inputs):
        assert gankit("video", *arguments, "--out", f"{number}.gif", *SHORT).code == 0
    contents = [(run.parent / f"{number}.gif").read_bytes() for number in range(3)]
    assert contents[0] == contents[1] != contents[2]


def test_as_a_process(run, start_process):
    process = start_process("video", "run", "--out", "x.gif", *SHORT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "20 frames of 4 images: x.gif\n", "")
    assert len(list(frames("x.gif"))) == 20


def test_conditions_are_those_of_sample(gankit, run):
    for arguments in ((), ("--class", "1")):
        for command, out in (("video", "x.gif"), ("sample", "x.png")):
            more = SHORT if command == "video" else ("--count", "4", "--trust")
            assert gankit(command, "run", "--out", out, *more, *arguments).code == 0
        picture = next(frames("x.gif"))[0]
        assert picture.tolist() == numpy.asarray(read_image("x.png").convert("L")).tolist()


def test_mp4_has_the_frames_and_the_size(gankit, run):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    answer = gankit("video", "run", "--out", "walk.mp4", *SHORT)
    assert (answer.code, answer.out, answer.err) == (0, "20 frames of 4 images: walk.mp4\n", "")
    assert gankit("video", "run", "--out", "walk.gif", *SHORT).code == 0
    pictures = [picture for picture, _ in frames("walk.gif")]
    height, width = pictures[0].shape
    reader = imageio_ffmpeg.read_frames("walk.mp4", pix_fmt="gray", bits_per_pixel=8)
    facts = next(reader)
    assert facts["fps"] == 10
    even = (width + width % 2, height + height % 2)
    assert facts["size"] == even
    decoded = [numpy.frombuffer(frame, numpy.uint8).reshape(even[1], even[0]) for frame in reader]
    assert len(decoded) == 20
    for picture, other in zip(pictures, decoded, strict=True):
        assert abs(picture - other[:height, :width]).mean() < 12
    first = (run.parent / "walk.mp4").read_bytes()
    assert gankit("video", "run", "--out", "walk.mp4", *SHORT).code == 0
    assert (run.parent / "walk.mp4").read_bytes() == first
    assert not list(run.parent.glob(".tmp-*"))


def test_incomplete_mp4_is_an_error_and_the_old_file_stays(tmp_path):
    """Limit the size of files, as a full disk does. The program ffmpeg writes this short video only at the end."""
    pytest.importorskip("imageio_ffmpeg")
    resource = pytest.importorskip("resource")
    path = tmp_path / "x.mp4"
    path.write_bytes(b"old")
    pictures = [Image.effect_noise((64, 64), 100).convert("RGB") for _ in range(20)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(GankitError, match=r"x\.mp4 could not be written: ffmpeg did not write all of it"):
            write_mp4(path, pictures, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]
    assert path.read_bytes() == b"old"


def test_missing_package_is_one_sentence(gankit, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    answer = gankit("video", "run", "--out", "x.mp4", *SHORT)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "error: --out x.mp4: imageio-ffmpeg is not installed, which writes MP4; run `pip install 'gankit[video]'`, or "
        "choose a name that ends in .gif\n"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "x.avi"], "--out x.avi: unknown file type; the name of the file must end in .mp4 or .gif"),
        (["--out", "folder.gif"], "--out folder.gif: a folder of that name exists"),
        (["--out", "x.gif", "--fps", "60"], "--fps 60: a GIF has at most 50 frames per second"),
        (["--out", "x.gif", "--seconds", "0"], "--seconds"),
        (["--out", "x.gif", "--seconds", "nan"], "--seconds"),
        (["--out", "x.gif", "--truncation", "nan"], "--truncation"),
        (["--out", "x.gif", "--class", "zebra"], "zebra"),
        (["--out", "x.gif", "--set", "age"], "--set age: give a name and a value"),
        (["--out", "toy.py/x.gif"], "could not be written"),
        (["--out", "toy.py/x.mp4"], "could not be written"),
    ],
)
def test_errors(gankit, run, toy, arguments, expected):
    if "toy.py/x.mp4" in arguments:
        pytest.importorskip("imageio_ffmpeg")
    (toy / "folder.gif").mkdir()
    answer = gankit("video", "run", "--trust", *arguments)
    assert answer.code == (1 if expected == "could not be written" else 2)
    assert expected in answer.err
    assert not (toy / "x.gif").exists()


def test_run_without_a_generator_is_refused(gankit, run):
    (run / "generator.safetensors").unlink()
    assert "run: no generator is saved yet" in gankit("video", "run", "--out", "x.gif").err


@pytest.mark.parametrize(("frames", "fps"), [(100, 30), (7, 25), (50, 50), (3, 1)])
def test_durations_of_a_gif_are_whole_hundredths_and_add_up(frames, fps):
    durations = gif_durations(frames, fps)
    assert len(durations) == frames
    assert sum(durations) == pytest.approx(round(100 * frames / fps) / 100)
    assert all(abs(one - 1 / fps) <= 0.01 and one == round(one, 2) for one in durations)
