"""Video clips in GIF files and folders of frames, in folders, zip files and prepared files, and GIF files as output."""

import zipfile

import pytest
import torch
from PIL import Image

from gankit import Dataset, InputError, Spec, VectorCondition, write_gif
from gankit.data.prepared import prepare
from gankit.testing import check_dataset
from gankit_plugins.data.clip_output import moving_grid
from gankit_plugins.data.moving_shapes import MovingShapes
from gankit_plugins.data.videos import Videos


def clip_of(start, length, size=(8, 8), step=1):
    """Return grey frames of one colour: start, start + step, ..., with one black pixel at the top left."""
    frames = [Image.new("L", size, start + step * t) for t in range(length)]
    for frame in frames:
        frame.putpixel((0, 0), 0)
    return frames


def write_frames(folder, frames, name="{}.png", first=0):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, first):
        frame.save(folder / name.format(number))


def write_gifs(top, clips):
    for name, frames in clips.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        write_gif(top / name, frames, 10)
    return top


def zipped(top):
    path = top.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(top.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(top.parent))
    return path


def dataset(path, **settings):
    return Videos(Videos.Config(path=path, **{"resolution": 8, "channels": 1, "frames": 3} | settings)).load_data()


def colours(clips):
    """Return the colour of each frame, (N, T), at the bottom right."""
    return clips[:, 0, :, -1, -1].tolist()


def test_gifs_in_class_folders_and_in_a_zip_file(tmp_path):
    clips = {
        f"{name}/{n}.gif": clip_of(10 * n + 100 * k, 5) for k, name in enumerate(("run", "walk")) for n in (1, 2, 10)
    }
    top = write_gifs(tmp_path / "clips", clips)
    for path in (top, zipped(top)):
        data = dataset(path)
        assert data.shape == (1, 3, 8, 8)
        assert data.class_names == ("run", "walk")
        rows = data.read()
        starts = [10, 100, 20, 110, 200, 120]  # sorted by path: 1, 10, 2
        assert colours(rows.images) == [[s, s + 1, s + 2] for s in starts]
        assert rows.images.dtype == torch.uint8
        assert (rows.images[..., 0, 0] == 0).all()
        assert rows.condition.tolist() == [0, 0, 0, 1, 1, 1]
        check_dataset(data)
    assert colours(dataset(top, stride=2).read().images)[0] == [10, 12, 14]


def test_still_image_before_gifs_is_a_short_clip(tmp_path, capsys):
    top = write_gifs(tmp_path / "clips", {f"walk/{n}.gif": clip_of(10 * n, 3) for n in range(1, 5)})
    Image.new("L", (8, 8)).save(top / "walk" / "0.png")
    assert colours(dataset(top).read().images) == [[10 * n + t for t in range(3)] for n in range(1, 5)]
    assert "walk/0.png (1 frames, and 3 are needed" in capsys.readouterr().err


def test_folders_of_frames_are_in_natural_order(tmp_path):
    top = tmp_path / "clips"
    write_frames(top / "a", clip_of(50, 12), first=1)  # 1.png to 12.png
    write_frames(top / "b", clip_of(150, 11), "frame{:03d}.png")
    for path in (top, zipped(top)):
        data = dataset(path, frames=11)
        assert data.condition is None
        assert colours(data.read().images) == [list(range(50, 61)), list(range(150, 161))]
    assert colours(dataset(top, frames=2, stride=5).read().images) == [[50, 55], [150, 155]]
    (top / "labels.csv").write_text("file,age\na,20\nb,30\n")
    labelled = dataset(top)
    assert labelled.condition == VectorCondition(("age",), ((20, 30),))
    assert labelled.read().condition.flatten().tolist() == [-1, 1]


@pytest.mark.parametrize(("suffix", "options"), [(".webp", {"lossless": True}), (".png", {})])
def test_other_animations_are_clips(tmp_path, suffix, options):
    frames = [frame.convert("RGB") for frame in clip_of(30, 4, step=40)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=100, **options)
    assert colours(dataset(tmp_path).read().images) == [[30, 70, 110]]


def test_partial_frames_of_a_gif_are_drawn_over_earlier_ones(tmp_path):
    frames = [Image.new("RGB", (16, 8), (0, 60, 120)) for _ in range(4)]
    for t, frame in enumerate(frames):
        frame.paste((250, 200, 0), (4 * t, 2, 4 * t + 4, 6))
    frames[0].save(
        tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50
    )  # Pillow stores differences
    clips = dataset(tmp_path, frames=4, resolution=[8, 16], channels=3).read().images
    expected = torch.stack([torch.frombuffer(bytearray(f.tobytes()), dtype=torch.uint8).view(8, 16, 3) for f in frames])
    assert torch.equal(clips[0], expected.permute(3, 0, 1, 2))


def test_frames_are_cropped_to_the_centre(tmp_path):
    frames = [Image.new("L", (24, 8), 200) for _ in range(3)]
    for frame in frames:
        frame.paste(90, (8, 0, 16, 8))
    write_gifs(tmp_path, {"a.gif": frames})
    assert (dataset(tmp_path).read().images == 90).all()


def test_short_clips_are_skipped_and_named(tmp_path, capsys):
    write_gifs(tmp_path, {f"{n}.gif": clip_of(n, 5) for n in range(4)} | {"short.gif": clip_of(9, 4)})
    write_frames(tmp_path / "few", clip_of(0, 2))
    assert len(dataset(tmp_path, stride=2).read().images) == 4
    message = (
        "skipped 2 of the 6 clips: few (2 frames, and 5 are needed for frames = 3 and stride = 2), short.gif (4 fr"
    )
    assert message in capsys.readouterr().err
    with pytest.raises(InputError, match=r"more than 0 of the 6 clips .* cannot be used: few .*raise data\.bad_limit"):
        dataset(tmp_path, stride=2, bad_limit=0).read()


def test_mistakes_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no clips; a clip is an animated GIF, WebP or PNG, or a folder with"):
        dataset(tmp_path / "empty")
    (tmp_path / "empty" / "walk.mp4").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"videos \(.mp4\) are not read; convert each, for example with `ffmpeg -i a.mp4"
    ):
        dataset(tmp_path / "empty")
    write_frames(tmp_path / "flat", clip_of(0, 3))
    with pytest.raises(InputError, match=r"still images such as 0\.png at its top; put the frames of each clip into"):
        dataset(tmp_path / "flat")
    with pytest.raises(InputError, match="missing does not exist"):
        dataset(tmp_path / "missing")


def test_prepared_clips(tmp_path):
    top = write_gifs(tmp_path / "clips", {f"{k}/a.gif": clip_of(20, 5) for k in "xy"})
    data = dataset(top)
    prepare(data, file := tmp_path / "clips.safetensors", "test")
    again = Videos(Videos.Config(path=file)).load_data()
    assert (again.shape, again.condition) == (data.shape, data.condition)
    assert torch.equal(again.read().images, data.read().images)
    assert dataset(file, classes=False).condition is None
    with pytest.raises(
        InputError, match=r"frames: .* was prepared with frames=3, but 5 is requested; set data\.frames=3, or"
    ):
        dataset(file, frames=5)
    images = Dataset((1, 8, 8), None, lambda: (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), None))
    prepare(images, other := tmp_path / "images.safetensors", "test")
    with pytest.raises(InputError, match=r"has no clips, but samples of shape \(1, 8, 8\); use the plugin images"):
        Videos(Videos.Config(path=other)).load_data()


def test_saved_samples_are_read_again(tmp_path):
    """Grey GIF files are exact, so a generator's samples can be data."""
    plugin = MovingShapes(MovingShapes.Config(count=3, channels=1, frames=4, fps=20))
    samples = plugin.load_data().read().images.float() / 127.5 - 1
    paths = plugin.save_samples(samples, ["a", "b", "c"], tmp_path)
    assert [path.name for path in paths] == ["a.gif", "b.gif", "c.gif"]
    again = dataset(tmp_path, frames=4, resolution=32).read().images
    assert torch.equal(again.float() / 127.5 - 1, samples)
    with Image.open(paths[0]) as image:
        assert (image.n_frames, image.info["duration"], image.info["loop"]) == (4, 50, 0)


def test_moving_grid(tmp_path):
    plugin = MovingShapes(MovingShapes.Config(count=8, frames=4))
    rows = plugin.load_data().read()
    samples, spec = rows.images.float() / 127.5 - 1, Spec(condition=plugin.condition)
    plugin.save_sample_file(samples, rows.condition, tmp_path / "grid.gif", spec)
    with Image.open(tmp_path / "grid.gif") as image:
        assert image.n_frames == 4
        named = image.size
    unnamed = [moving_grid(samples, None, ()), moving_grid(samples, torch.zeros(8).long(), spec.class_names)]
    assert {frame.size for frame in unnamed[0] + unnamed[1]} == {(200, 200)}  # 3 columns and rows of 32 pixels, doubled
    assert named[1] == 266  # four rows
    assert named[0] > 134  # two columns, and the names
    # Sample 4 of class 0 is beside sample 0.
    sheet = moving_grid(samples, rows.condition, spec.class_names)[2].crop((named[0] - 66, 2, named[0] - 2, 66))
    expected = moving_grid(samples[4:5], None, ())[2].crop((2, 2, 66, 66))
    assert sheet.tobytes() == expected.tobytes()
