"""Drawn shapes with captions: the captions and masks describe the images."""

import colorsys

import torch

from gankit_plugins.data.captioned_shapes import CONDITION, HUES, SIZES, CaptionedShapes


def load(**settings):
    return CaptionedShapes(CaptionedShapes.Config(**settings)).load_data().read()


def hue_name(rgb):
    """Return the colour whose hue is nearest to that of RGB values in [0, 1]."""
    hue = colorsys.rgb_to_hsv(*rgb)[0]
    return min(HUES, key=lambda name: min(abs(hue - HUES[name]), 1 - abs(hue - HUES[name])))


def test_captions_and_masks_describe_the_images():
    images, tokens, fields = load(count=200, resolution=48)
    assert fields["mask"].dtype == torch.uint8
    for image, row, mask in zip(images.double() / 255, tokens, fields["mask"][:, 0].bool(), strict=True):
        _, size, colour, kind, _, _, background = CONDITION.text(row).split()
        assert colour != background
        assert hue_name(image[:, mask].median(1).values.tolist()) == colour
        assert hue_name(image[:, ~mask].median(1).values.tolist()) == background
        y, x = mask.nonzero().double().T
        extent = torch.hypot(y - y.mean(), x - x.mean()).max() / 24  # about the radius; 0.85 of it for a circle
        assert (extent < 0.5) == (size == "small"), (size, kind, extent)


def test_all_words_occur_and_a_seed_gives_the_same_images():
    one, two, other = (
        load(count=600, resolution=8),
        load(count=600, resolution=8),
        load(count=600, resolution=8, seed=1),
    )
    assert set(one.condition.unique().tolist()) == set(range(1, len(CONDITION.words) + 1))
    assert torch.equal(one.images, two.images)
    assert not torch.equal(one.images, other.images)
    assert SIZES["small"][1] < SIZES["large"][0]


def test_parts_are_found_by_the_masks_and_without_them():
    images, tokens, fields = load(count=200, resolution=32)
    plugin = CaptionedShapes(CaptionedShapes.Config())
    true, found = plugin.find_parts(images, fields), plugin.find_parts(images, {})
    assert (
        true.keys() == found.keys() == {"shape"} | {f"{hue} {part}" for hue in HUES for part in ("shape", "background")}
    )
    assert torch.equal(true["shape"], fields["mask"][:, 0].bool())
    assert iou(true["shape"], found["shape"]) > 0.9
    for number, row in enumerate(tokens):
        words = CONDITION.text(row).split()
        part = found[f"{words[2]} shape"][number]
        assert iou(part, true["shape"][number]) > 0.6
        background = found[f"{words[6]} background"][number]
        assert (background & ~true["shape"][number]).sum() / (~true["shape"][number]).sum() > 0.9
    # Each pixel belongs to exactly one shape or background.
    assert (sum(mask.int() for name, mask in found.items() if name != "shape") == 1).all()
    assert not plugin.find_parts(torch.full((1, 3, 8, 8), 80, dtype=torch.uint8), {})["shape"].any()


def iou(a, b):
    return ((a & b).sum() / (a | b).sum()).item()
