"""Pictures of samples that are not images."""

from itertools import pairwise

import torch

from gankit.images.picture import LINE_HEIGHT, LINE_WIDTH, MAX_LINES, as_pictures


def ink(picture):
    """Return the rows with ink in each column of a picture (1, H, W)."""
    return [(column < 0).nonzero().flatten().tolist() for column in picture[0].T]


def test_images_stay_as_they_are():
    images = torch.rand(2, 3, 5, 7) * 2 - 1
    assert as_pictures(images) is images


def test_video_becomes_a_row_of_frames():
    video = torch.rand(2, 3, 4, 5, 6)
    pictures = as_pictures(video)
    assert pictures.shape == (2, 3, 5, 24)
    for frame in range(4):
        assert torch.equal(pictures[..., frame * 6 : frame * 6 + 6], video[:, :, frame])


def test_line_is_highest_for_1_and_lowest_for_minus_1():
    values = torch.linspace(-1, 1, LINE_WIDTH).view(1, 1, -1)
    columns = ink(as_pictures(values)[0])
    assert columns[0] == [LINE_HEIGHT - 1]
    assert columns[-1][0] == 0
    rows = [rows[0] for rows in columns]
    assert rows == sorted(rows, reverse=True)


def test_steep_line_has_no_gaps():
    values = torch.linspace(0, 40 * torch.pi, 256).sin().view(1, 1, -1)
    columns = ink(as_pictures(values)[0])
    for before, after in pairwise(columns):
        assert max(before[0], after[0]) <= min(before[-1], after[-1]) + 1


def test_line_covers_all_values_of_its_column():
    values = torch.tensor([-1.0, 1.0]).repeat(5 * LINE_WIDTH).view(1, 1, -1)
    assert ink(as_pictures(values)[0]) == [list(range(LINE_HEIGHT))] * LINE_WIDTH


def test_each_channel_has_its_own_line_and_a_row_of_a_table_has_one():
    stereo = torch.stack([torch.ones(9), -torch.ones(9)])[None]
    (picture,) = as_pictures(stereo)
    assert picture.shape == (1, 2 * LINE_HEIGHT, LINE_WIDTH)
    assert ink(picture) == [[0, 2 * LINE_HEIGHT - 1]] * LINE_WIDTH
    assert as_pictures(torch.zeros(4, 6)).shape == (4, 1, LINE_HEIGHT, LINE_WIDTH)
    assert as_pictures(torch.zeros(1, 9, 5)).shape == (1, 1, MAX_LINES * LINE_HEIGHT, LINE_WIDTH)
