"""Data: images with a field as a channel, and several datasets as one. Metric: overlap of masks with shapes."""

import pytest
import torch
from PIL import Image

from gankit import ClassCondition, Comparison, InputError, Recipe, load_dataset
from gankit.plugin.comparison import Samples
from gankit.testing import train_iterations
from gankit.training.assembly import assemble
from gankit_plugins.data.field_channels import FieldChannels, as_channel
from gankit_plugins.data.joined import Joined
from gankit_plugins.metric.mask_iou import MaskIou, iou

CAPTIONED = {"use": "captioned_shapes", "count": 20, "resolution": 16}
MASKS = {"use": "field_channels", "images": CAPTIONED}


def shapes(*kinds, **settings):
    return {"use": "shapes", "count": 6, "resolution": 8, "kinds": list(kinds), **settings}


def dataset(**settings):
    return load_dataset(settings, "recipe")


# Images with a field


def test_field_is_the_last_channel():
    data, other = dataset(**MASKS), dataset(**CAPTIONED).read()
    assert (data.shape, data.condition, data.fields) == ((4, 16, 16), None, ())
    rows = data.read()
    assert torch.equal(rows.images[:, :3], other.images)
    assert rows.condition is None
    assert torch.equal(rows.images[:, 3:], other.fields["mask"] * 255)


def test_values_up_to_the_maximum_become_bytes():
    depth = torch.tensor([[[0.0, 1.0, 2.0, 4.0]]])
    assert as_channel(depth, 4.0).tolist() == [[[[0, 64, 128, 255]]]]
    assert torch.equal(as_channel(depth[:, None], 4.0), as_channel(depth, 4.0))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (torch.zeros(2, 3, 4, 4), r"its shape is \(2, 3, 4, 4\)"),
        (torch.zeros(2, 4), "must be"),
        (torch.full((2, 4, 4), 1.5), "maximum: 1 given, and the field has values from 1.5 to 1.5"),
        (torch.full((2, 4, 4), -1.0), "from -1 to -1"),
        (torch.full((2, 4, 4), torch.nan), "from nan to nan"),
    ],
)
def test_a_field_that_is_no_channel_is_refused(field, message):
    with pytest.raises(InputError, match=message):
        as_channel(field, 1.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"field": "depth"}, "no field 'depth'; fields: mask"),
        ({"images": shapes("circle")}, "no field 'mask'; fields: none"),
    ],
)
def test_a_dataset_without_the_field_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        dataset(**(MASKS | settings))


def test_pictures_show_pairs_and_files_hold_both_parts(tmp_path):
    plugin = FieldChannels(FieldChannels.Config(images=CAPTIONED))
    samples = torch.stack([torch.full((4, 8, 8), -1.0), torch.full((4, 8, 8), 1.0)])
    samples[1, 3] = -1.0
    picture = plugin.draw_samples(samples, 2, [])
    assert picture.mode == "RGB"
    assert picture.width > 3.9 * 8
    files = plugin.save_samples(samples, ["a", "b"], tmp_path)
    assert [file.name for file in files] == ["a.png", "a_mask.png", "b.png", "b_mask.png"]
    opened = [Image.open(file) for file in files]
    assert [one.mode for one in opened] == ["RGB", "L"] * 2
    assert [one.getextrema() for one in opened[1::2]] == [(0, 0)] * 2
    assert opened[2].getextrema() == ((255, 255),) * 3


def test_a_run_trains_on_pairs(start_run):
    networks = {player: {"use": "mlp", "hidden": [8]} for player in ("generator", "discriminator")}
    run = start_run({"data": MASKS, **networks})
    train_iterations(run, 1)
    assert run.generator(torch.zeros(2, run.spec.latent_size), None).shape == (2, 4, 16, 16)


# Several datasets


def test_the_class_is_the_dataset():
    parts = {"round": shapes("circle"), "hollow": shapes("ring", count=4)}
    data = dataset(use="joined", datasets=parts)
    rows = data.read()
    assert data.condition == ClassCondition(("round", "hollow"))
    assert rows.condition.tolist() == [0] * 6 + [1] * 4
    assert torch.equal(rows.images[:6], dataset(**parts["round"]).read().images)
    assert torch.equal(rows.images[6:], dataset(**parts["hollow"]).read().images)


def test_samples_of_different_shape_are_refused():
    parts = {"a": shapes("circle"), "b": shapes("circle", resolution=16)}
    with pytest.raises(InputError, match=r"differ in shape: a \(3, 8, 8\), b \(3, 16, 16\)"):
        dataset(use="joined", datasets=parts)


def test_one_dataset_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        Joined.Config(datasets={"a": shapes("circle")})


def test_a_mistake_names_the_dataset():
    with pytest.raises(ValueError, match="resolution"):
        Joined.Config(datasets={"a": shapes("circle"), "b": shapes("ring", resolution="large")})


# Overlap


def test_iou_by_a_naive_count():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(5, 6, 7, generator=generator) < 0.4 for _ in range(2))
    expected = []
    for x, y in zip(a.flatten(1).tolist(), b.flatten(1).tolist(), strict=True):
        pairs = list(zip(x, y, strict=True))
        expected.append(sum(p and q for p, q in pairs) / sum(p or q for p, q in pairs))
    assert iou(a, b).tolist() == pytest.approx(expected)


def test_iou_of_equal_disjoint_and_empty_masks():
    a = torch.zeros(3, 2, 2, dtype=torch.bool)
    a[0, 0, 0] = a[1, 0, 0] = True
    b = a.clone()
    b[1] = ~b[1]
    assert iou(a, b).tolist() == [1, 0, 1]


def measured(images):
    samples = Samples(
        dataset(
            **MASKS,
        )
        .read()
        .images
    )
    return MaskIou(MaskIou.Config()).compute_metrics(Comparison(samples, Samples(images), None, {}))


def test_real_pairs_overlap_and_shuffled_masks_do_not():
    real = dataset(**MASKS).read().images
    found = measured(real)
    assert found["mask_iou"] == found["mask_iou_real"] > 0.9
    assert found["mask_iou_shuffled"] < 0.6
    wrong = torch.cat([real[:, :3], 255 - real[:, 3:]], 1)
    assert measured(wrong)["mask_iou"] < 0.1


def test_other_samples_have_no_mask():
    colour = Samples(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    assert MaskIou(MaskIou.Config()).compute_metrics(Comparison(colour, colour, None, {})) is None


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("image_and_mask_shapes", {"use": "field_channels", "images": CAPTIONED}),
        ("semi_supervised_mnist", {"use": "few_labels", "labels": 4, "images": shapes("circle", "ring")}),
    ],
)
def test_recipe_trains(name, data):
    from gankit.recipe.bundled import find_recipe
    from gankit.recipe.toml import read_toml

    raw = read_toml(find_recipe(name)) | {"data": data, "metrics": {}}
    raw["train"] |= {"batch_size": 6, "device": "cpu"}
    raw["discriminator"] |= {"width": 2}
    run = assemble(Recipe.from_dict(raw))
    run.load_data()
    run.start()
    train_iterations(run, 2)
    assert run.spec.condition is None
