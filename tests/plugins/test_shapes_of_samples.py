"""Samples of any shape and data type: in a run, through a resume, in grids, prepared files and saved generators."""

import math
import wave

import pytest
import tomli_w
import torch
from click.testing import CliRunner
from PIL import Image

from gankit import ClassCondition, Dataset, InputError, Plugin, Recipe, Sampler, Settings, Spec, hookimpl, read_prepared
from gankit.cli import cli
from gankit.data.prepared import prepare
from gankit.errors import RecipeError
from gankit.evaluation.evaluator import Evaluator
from gankit.images.grid import grid, to_bytes, to_float
from gankit.images.io import read_image, save_png
from gankit.plugin.dataset import to_eight_bits
from gankit.recipe.toml import parse_overrides
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import GridSampler
from gankit.storage.run_dir import RunDir
from gankit.testing import check_plugin, tiny_run, train_iterations
from gankit.testing.harness import tiny_registry
from gankit.training.loop import save_grid
from gankit_plugins.augmentation.affine import rotations, shifts, warp
from gankit_plugins.augmentation.crop import crop
from gankit_plugins.augmentation.diff_augment import cutout
from gankit_plugins.data.images import Images
from gankit_plugins.discriminator.dcgan import DcganDiscriminator
from gankit_plugins.discriminator.igan import IganDiscriminator
from gankit_plugins.discriminator.infogan import InfoGanDiscriminator
from gankit_plugins.discriminator.mlp import MlpDiscriminator
from gankit_plugins.generator.dcgan import Dcgan
from gankit_plugins.generator.igan import Igan
from gankit_plugins.generator.igan_vn import IganVn
from gankit_plugins.generator.infogan import InfoGanGenerator
from gankit_plugins.generator.mlp import MlpGenerator
from gankit_plugins.layers.dcgan import sizes_of
from gankit_plugins.layers.igan import set_sizes


def built(plugin_class, spec, **config):
    plugin = plugin_class(plugin_class.Config(**config))
    return plugin.build_generator(spec) if plugin.kind == "generator" else plugin.build_discriminator(spec)


SMALL = {
    **{key: {"channels": 2} for key in (Igan, IganVn)},
    **{key: {"width": 2} for key in (Dcgan, DcganDiscriminator, IganDiscriminator)},
    **{key: {"width": 2, "units": 3} for key in (InfoGanGenerator, InfoGanDiscriminator)},
}


@pytest.mark.parametrize("shape", [(1, 32, 64), (4, 64, 32), (5, 24, 32), (3, 12, 48), (2, 8, 4)])
def test_networks_for_rectangles_and_any_number_of_channels(shape):
    spec = Spec(shape=shape, latent_size=5)
    for generator in (Dcgan, Igan, IganVn, InfoGanGenerator, MlpGenerator):
        images = built(generator, spec, **SMALL.get(generator, {}))(torch.randn(2, 5), None)
        assert images.shape == (2, *shape)
    for discriminator in (DcganDiscriminator, IganDiscriminator, InfoGanDiscriminator, MlpDiscriminator):
        output = built(discriminator, spec, **SMALL.get(discriminator, {}))(torch.randn(2, *shape), None)
        assert (output.logits.shape, len(output.features)) == ((2,), 2)


def test_feature_maps_of_rectangles():
    assert sizes_of(Spec(shape=(3, 64, 28))) == [(64, 28), (32, 14), (16, 7), (8, 4)]
    assert set_sizes(Spec(shape=(3, 32, 64))) == ((4, 8), (8, 16), 8)
    assert set_sizes(Spec(shape=(3, 96, 128))) == ((12, 16), (24, 32), 8)


@pytest.mark.parametrize("shape", [(3, 100, 64), (3, 256, 180), (3, 96, 36)])
def test_sides_without_a_large_common_divisor_are_refused_by_igan(shape):
    with pytest.raises(InputError, match=r"common factor of \d, which is too small; choose sides with a larger"):
        set_sizes(Spec(shape=shape))


@pytest.mark.parametrize("plugin_class", [Dcgan, Igan, InfoGanGenerator, DcganDiscriminator, IganDiscriminator])
def test_networks_for_images_refuse_other_shapes(plugin_class):
    with pytest.raises(InputError, match=r"needs images, with .*, and a sample of the data has shape 1x400"):
        built(plugin_class, Spec(shape=(1, 400)))


def test_rotation_of_a_rectangle_by_a_quarter_turn_is_exact():
    image = torch.arange(24.0).view(1, 1, 4, 6) / 24
    angle = torch.tensor([math.pi / 2])
    turned = warp(image, rotations(angle))
    # The middle square of the image is turned; the image's ends fall outside, and the new ends are black.
    torch.testing.assert_close(turned[0, 0, :, 1:5], image[0, 0, :, 1:5].rot90(), atol=1e-5, rtol=0)
    assert (turned[..., [0, 5]] == -1).all()


def test_shift_of_a_rectangle_moves_by_half_heights():
    image = torch.rand(1, 2, 4, 8)
    moved = warp(image, shifts(torch.tensor([0.5]), torch.tensor([-0.5])))
    torch.testing.assert_close(moved[:, :, :3, 1:], image[:, :, 1:, :-1], atol=1e-5, rtol=0)
    assert torch.equal(crop(image, torch.tensor([0]), torch.tensor([2]), 1)[:, :, :3, 1:], image[:, :, 1:, :-1])


def test_cutout_of_a_rectangle_by_a_naive_loop():
    images = torch.ones(3, 1, 4, 9)
    column, row, side = torch.tensor([0, 8, 4]), torch.tensor([3, 0, 2]), 3
    expected = images.clone()
    for b in range(3):
        for y in range(4):
            for x in range(9):
                if abs(y - int(row[b])) <= 1 and abs(x - int(column[b])) <= 1:
                    expected[b, 0, y, x] = 0
    assert torch.equal(cutout(images, column, row, side), expected)


class Waves(Plugin):
    """Sine waves of one channel. Source: own example."""

    name = "waves"
    kind = "data"

    class Config(Settings):
        pass

    @hookimpl
    def load_data(self):
        return Dataset((1, 40), ClassCondition(("low", "high")), self.read)

    def read(self):
        labels = torch.arange(24) % 2
        phase = torch.linspace(0, 1, 24)[:, None] + torch.linspace(0, 6, 40)[None] * (1 + labels[:, None])
        return phase.sin()[:, None], labels


class Recorded(Waves):
    """Waves that are written as WAV files. Source: own example."""

    name = "recorded"

    @hookimpl
    def save_samples(self, samples, names, folder):
        paths = [folder / f"{name}.wav" for name in names]
        for path, sample in zip(paths, samples, strict=True):
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes((sample[0] * 32767).round().to(torch.int16).numpy().tobytes())
        return paths

    @hookimpl
    def on_samples(self, run, samples, condition):
        run.seen = (run.iteration, samples.clone(), condition)


class DeepGrey(Waves):
    """Grey 16-bit rectangles. Source: own example."""

    name = "deep_grey"

    @hookimpl
    def load_data(self):
        return Dataset((1, 6, 10), None, self.read)

    def read(self):
        values = (torch.arange(24 * 60) * 997 % 65536).view(24, 1, 6, 10)
        return values.to(torch.uint16), None


MLP = {"generator": {"use": "mlp"}, "discriminator": {"use": "mlp"}}


@pytest.mark.parametrize("dataset", [Waves, Recorded, DeepGrey])
def test_data_plugins_of_other_shapes_pass_all_checks(dataset):
    changes = {} if dataset is DeepGrey else MLP
    check_plugin(dataset, changes=changes, stand_in=False)


def test_sixteen_bits_are_scaled_to_minus_1_to_1():
    values = torch.tensor([0, 1, 32768, 65535], dtype=torch.int32).to(torch.uint16)
    torch.testing.assert_close(to_float(values), torch.tensor([-1.0, 2 / 65535 - 1, 1 / 65535, 1.0]))
    run = tiny_run({DeepGrey: {}})
    real = run.draw_real().images
    assert (real.dtype, tuple(real.shape[1:])) == (torch.float32, (1, 6, 10))
    images = DeepGrey(DeepGrey.Config()).read()[0].to(torch.int64)
    known = {tuple(image.flatten().tolist()) for image in images}
    assert all(tuple(((x + 1) * 32767.5).round().long().flatten().tolist()) in known for x in real)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 40), (7,), (2, 3, 4, 5)])
def test_prepared_files_keep_shape_and_type(tmp_path, dtype, shape):
    values = torch.rand(5, *shape)
    values = values if dtype.is_floating_point else (values * 255).to(torch.int32).to(dtype)
    prepare(
        Dataset(shape, ClassCondition(("a", "b")), lambda: (values, torch.arange(5) % 2)),
        tmp_path / "x.safetensors",
        "test",
    )
    dataset = read_prepared(tmp_path / "x.safetensors")
    read, labels, _ = dataset.read()
    assert (dataset.shape, read.dtype) == (shape, dtype)
    assert read.numpy().tobytes() == values.numpy().tobytes()
    assert labels.tolist() == [0, 1, 0, 1, 0]


def test_other_types_cannot_be_prepared(tmp_path):
    data = Dataset((2,), None, lambda: (torch.zeros(3, 2, dtype=torch.float64), None))
    with pytest.raises(InputError, match=r"values of type torch\.float64; all must be one of uint8, uint16, float32"):
        prepare(data, tmp_path / "x.safetensors", "test")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resolution", ["[8]", "[8, 16, 3]", "[8, 2]", "3", '"8x16"'])
def test_wrong_size_is_one_sentence(tmp_path, resolution):
    table = {"use": "images", "path": str(tmp_path), **parse_overrides([f"resolution={resolution}"])}
    with pytest.raises(RecipeError) as error:
        Recipe.from_dict({"data": table, "generator": "dcgan", "discriminator": "dcgan"})
    (problem,) = error.value.problems
    assert problem.key == "data.resolution"
    assert "expected a side from 4 to 4096, such as 64, or [height, width]" in problem.message


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        image = Image.new("RGBA", (40, 20), (255, 0, 0, 0))
        image.paste((10 * number, 200, 30, 255), (10, 5, 30, 15))
        image.save(folder / f"{number}.png")
    return folder


def run_cli(*arguments):
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_rectangles_with_opacity_from_files_to_samples(tmp_path, photos):
    recipe = {
        "data": {"use": "images", "path": str(photos), "resolution": [12, 24], "channels": 4},
        "generator": {"use": "igan", "channels": 2},
        "discriminator": {"use": "dcgan", "width": 2},
        "train": {"iterations": 2, "batch_size": 4},
        "output": {"sample_count": 4},
        "evaluation": {"count": 8},
        "metrics": {"frechet_distance": {}},
        "extractor": "pixels",
    }
    (tmp_path / "r.toml").write_text(tomli_w.dumps(recipe))
    run_cli("run", tmp_path / "r.toml", "--out", tmp_path / "run", "--quiet")
    with Image.open(max((tmp_path / "run" / "samples").iterdir())) as picture:
        assert picture.mode == "RGBA"
    run_cli("sample", tmp_path / "run", "--out", tmp_path / "samples", "--count", 2)
    with Image.open(min((tmp_path / "samples").iterdir())) as sample:
        assert (sample.mode, sample.size) == ("RGBA", (24, 12))
    assert "frechet_distance" in run_cli(
        "eval", tmp_path / "run" / "generator.safetensors", "--metric", "frechet_distance"
    )


def test_images_with_opacity_keep_it_and_are_black_where_transparent(photos):
    images, _, _ = Images(Images.Config(path=photos, resolution=(20, 40), channels=4)).load_data().read()
    assert images.shape == (12, 4, 20, 40)
    assert (images[:, :, 0, 0] == 0).all()
    assert images[0, :, 10, 20].tolist() == [0, 200, 30, 255]
    opaque, _, _ = Images(Images.Config(path=photos, resolution=(20, 40), channels=3)).load_data().read()
    assert (opaque[:, :, 0, 0] == 255).all()


def test_grid_of_images_with_opacity_is_drawn_over_white_when_read(tmp_path):
    images = torch.zeros(2, 4, 32, 64, dtype=torch.uint8)
    images[1] = torch.tensor([9, 8, 7, 255], dtype=torch.uint8)[:, None, None]
    save_png(grid(images, 2, ("row",)), tmp_path / "g.png")
    picture = read_image(tmp_path / "g.png")
    assert picture.mode == "RGB"
    width = picture.width // 2
    assert picture.getpixel((picture.width - 40, 40)) == (9, 8, 7)
    assert picture.getpixel((picture.width - width, 40)) == (255, 255, 255)


def test_saved_generator_of_waves_draws_the_same_waves(tmp_path):
    parts = {Waves: {}, MlpGenerator: {}, MlpDiscriminator: {}}
    run = train_iterations(tiny_run(parts), 2)
    save_generator(run, tmp_path / "g.safetensors")
    sampler = Sampler.load(tmp_path / "g.safetensors", "cpu", registry=tiny_registry(parts))
    own = Sampler(run.sampled_generator(), run.hooks, run.spec, run.device)
    waves, again = (torch.cat(list(s.outputs(s.latent(3, None, 1), None))) for s in (sampler, own))
    assert torch.equal(waves, again)
    assert waves.shape == (3, 1, 40)
    assert to_bytes(waves).dtype == torch.uint8


def test_samples_are_written_as_files_of_their_kind(tmp_path):
    parts = {Recorded: {}, MlpGenerator: {}, MlpDiscriminator: {}}
    run = tiny_run(parts)
    save_generator(run, tmp_path / "g.safetensors")
    sampler = Sampler.load(tmp_path / "g.safetensors", "cpu", registry=tiny_registry(parts))
    z = sampler.latent(70, None, 3)
    sampler.save(z, None, tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"{n:06d}.wav" for n in range(70)]
    expected = torch.cat(list(sampler.outputs(z, None)))
    for number in (0, 69):
        with wave.open(str(files[number]), "rb") as file:
            values = torch.frombuffer(bytearray(file.readframes(40)), dtype=torch.int16)
        assert torch.equal(values, (expected[number, 0] * 32767).round().to(torch.int16))


def test_samples_of_a_grid_are_passed_on(tmp_path):
    parts = {Recorded: {}, MlpGenerator: {}, MlpDiscriminator: {}}
    run = tiny_run(parts)
    grids = GridSampler(run)
    save_grid(run, RunDir(tmp_path), grids)
    iteration, samples, condition = run.seen
    assert (iteration, condition, len(samples)) == (0, None, len(grids.z))
    sampler = Sampler(run.sampled_generator(), run.hooks, run.spec, run.device)
    assert torch.equal(samples, torch.cat(list(sampler.outputs(grids.z, None))))


@pytest.mark.parametrize("dataset", [DeepGrey])
def test_metrics_of_sixteen_bits_are_those_of_eight(dataset):
    class EightBits(DeepGrey):
        """The same images with 8 bits. Source: own example."""

        name = "eight_bits"

        def read(self):
            return to_eight_bits(super().read()[0]), None

    changes = {"metrics": {"frechet_distance": {}}, "extractor": {"use": "pixels"}, "evaluation": {"count": 16}}
    rows = [Evaluator(tiny_run({data: {}}, changes)).row()["metrics"] for data in (dataset, EightBits)]
    assert rows[0]["frechet_distance"] == pytest.approx(rows[1]["frechet_distance"], rel=1e-3)


@pytest.mark.parametrize("shape", [(2, 50), (7,), (1, 3, 8, 8)])
def test_prepared_samples_of_any_shape_are_read_by_the_images_plugin(tmp_path, shape):
    values = torch.rand(6, *shape) * 2 - 1
    prepare(Dataset(shape, None, lambda: (values, None)), path := tmp_path / "x.safetensors", "test")
    dataset = Images(Images.Config(path=path)).load_data()
    assert torch.equal(dataset.read()[0], values)
    with pytest.raises(InputError, match=r"has no images, but samples of shape .*; remove resolution and channels"):
        Images(Images.Config(path=path, channels=1)).load_data()


@pytest.mark.parametrize("shape", [(), (0, 4, 4), (3, "a"), [3, 4, 4], 3])
def test_shape_of_a_dataset_is_a_tuple_of_whole_numbers(shape):
    with pytest.raises(InputError, match="the first argument is the shape of a sample, a tuple such as"):
        Dataset(shape, None, lambda: None)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_transparent_pictures_are_read_over_white(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.convert(mode).save(tmp_path / "x.png")
    picture = read_image(tmp_path / "x.png")
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_another_size_of_z_at_sampling_time_is_refused(tmp_path):
    parts = {Waves: {}, MlpGenerator: {}, MlpDiscriminator: {}}
    save_generator(tiny_run(parts), tmp_path / "g.safetensors")
    sampler = Sampler.load(
        tmp_path / "g.safetensors", "cpu", registry=tiny_registry(parts), overrides=["latent.size=5"]
    )
    with pytest.raises(InputError, match=r"latent: z of the prior .* has shape .*; do not change the size of z"):
        sampler.latent(3, None, 0)
