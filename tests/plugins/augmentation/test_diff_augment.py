import pytest
import torch

from gankit_plugins.augmentation.diff_augment import DiffAugment, brightness, contrast, cutout, saturation


def images(channels=3, count=3, R=8):
    return torch.rand(count, channels, R, R, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def each(values):
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)


def test_colour_by_a_loop_over_images():
    x, amounts = images(), [0.0, 0.3, 1.7]
    for i, a in enumerate(amounts):
        torch.testing.assert_close(brightness(x, each(amounts))[i], x[i] + a)
        grey = sum(x[i, c] for c in range(3)) / 3
        torch.testing.assert_close(
            saturation(x, each(amounts))[i], torch.stack([(x[i, c] - grey) * a + grey for c in range(3)])
        )
        mean = sum(x[i].flatten().tolist()) / x[i].numel()
        torch.testing.assert_close(contrast(x, each(amounts))[i], (x[i] - mean) * a + mean)


@pytest.mark.parametrize("side", [4, 5])
def test_the_square_is_where_it_says_and_cut_off_at_the_border(side):
    x = images() + 5
    across, down = torch.tensor([0, 4, 7]), torch.tensor([3, 4, 0])
    y = cutout(x, across, down, side)
    for i in range(3):
        for row in range(8):
            for column in range(8):
                top, left = int(down[i]) - side // 2, int(across[i]) - side // 2
                inside = top <= row < top + side and left <= column < left + side
                assert (y[i, 0, row, column] == 0).item() is inside


@pytest.mark.parametrize("policy", [["color"], ["translation"], ["cutout"], ["color", "translation", "cutout"]])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_the_gradient_reaches_the_images(policy, channels):
    trick = DiffAugment(DiffAugment.Config(policy=policy))
    x = images(channels).requires_grad_()

    def shown(given):
        torch.manual_seed(1)
        return trick.discriminator_inputs(images=given, labels=None)[0]

    d, g = torch.randn_like(x), torch.randn_like(x)
    (gradient,) = torch.autograd.grad((shown(x) * g).sum(), x)
    h = 1e-5
    slope = ((shown(x + h * d) - shown(x - h * d)) * g).sum() / (2 * h)
    torch.testing.assert_close((gradient * d).sum(), slope, atol=1e-6, rtol=1e-6)


def test_translation_moves_by_an_eighth_at_most():
    trick = DiffAugment(DiffAugment.Config(policy=["translation"]))
    x = torch.full((200, 1, 16, 16), 1.0)
    y, _ = trick.discriminator_inputs(images=x, labels=None)
    black = (y == -1).all(2).sum(2).max(), (y == -1).all(3).sum(2).max()
    assert [int(b) for b in black] == [2, 2]


@pytest.mark.parametrize("base", ["igan", "igan_vn"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_in_a_run(in_a_run, base, precision):
    in_a_run({"tricks": {"diff_augment": {}}, "train": {"precision": precision}}, base=base)
