"""Share of generated images that show the words of their captions."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gankit import Comparison, Plugin, TokenCondition, hookimpl

CROP = 12
"""Height and width, in pixels, of the normalised picture of a shape."""

RIDGE = 1e-2
"""Weight of the squared weights in the loss of a classifier, for features with deviation 1."""

MAX_POSITIONS = 64
"""Maximum number of words in a caption."""


def foreground(images: Tensor) -> Tensor:
    """Return the pixels of the bright shape in images (N, C, H, W) uint8 on a dark background, (N, H, W) bool.

    The threshold is the middle between the brightness of the background and the largest brightness of each image. The
    brightness of a pixel is its largest channel. At least one pixel is true.
    """
    value = images.amax(1).float() / 255
    flat = value.flatten(1)
    threshold = (flat.quantile(0.25, 1) + flat.amax(1)) / 2
    return value >= threshold[:, None, None]


def shape_features(images: Tensor) -> Tensor:
    """Return features (N, F) of images (N, C, H, W) uint8 of one bright shape on a dark background.

    The features are the colour of the shape and of the background, the size of the shape, and a small picture of the
    shape, which does not depend on its position and size.
    """
    pixels = images.float() / 255
    inside = foreground(images).float()[:, None]

    def mean(part: Tensor) -> Tensor:
        return (pixels * part).sum((2, 3)) / part.sum((2, 3)).clamp(min=1)

    def chroma(colour: Tensor) -> Tensor:
        return colour / colour.amax(1, keepdim=True).clamp(min=1e-3)

    height, width = images.shape[2:]
    y, x = (torch.arange(side) * 2 / side + 1 / side - 1 for side in (height, width))
    area = inside.sum((1, 2, 3))
    centre_y = (inside[:, 0] * y[:, None]).sum((1, 2)) / area
    centre_x = (inside[:, 0] * x).sum((1, 2)) / area
    distance = torch.hypot(y[None, :, None] - centre_y[:, None, None], x - centre_x[:, None, None])
    extent = (distance * inside[:, 0]).amax((1, 2)) + 1 / height
    steps = torch.linspace(-1, 1, CROP)
    grid_y = (centre_y[:, None, None] + extent[:, None, None] * steps[None, :, None]).expand(-1, CROP, CROP)
    grid_x = (centre_x[:, None, None] + extent[:, None, None] * steps[None, None]).expand(-1, CROP, CROP)
    crop = F.grid_sample(inside, torch.stack([grid_x, grid_y], 3), align_corners=False)
    size = torch.stack([extent, area.sqrt() / height], 1)
    return torch.cat([chroma(mean(inside)), chroma(mean(1 - inside)), size, crop.flatten(1)], 1)


def linear_classifier(inputs: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return the weights (F, K) of a linear classifier: ridge regression of the one-hot vectors of the classes.

    Args:
        inputs: inputs (N, F).
        targets: classes (N,).
        classes: number of classes, K.
    """
    x, y = inputs.double(), F.one_hot(targets, classes).double()
    ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y).float()


def with_one(features: Tensor) -> Tensor:
    """Append a feature that is always 1."""
    return F.pad(features, (0, 1), value=1.0)


class CaptionReader:
    """Classifiers that read the words of a caption from an image, one for each position of the caption.

    Args:
        images: real images (N, C, H, W) uint8.
        tokens: their captions (N, T). All captions have a word at the same positions.
    """

    def __init__(self, images: Tensor, tokens: Tensor) -> None:
        features = shape_features(images)
        self.mean, self.deviation = features.mean(0), features.std(0).clamp(min=0.05)
        self.words: dict[int, Tensor] = {}
        """Words that occur at each position with at least two different words, as token indices."""

        self.weights: dict[int, Tensor] = {}
        inputs = with_one(self._standardised(features))
        for position, column in enumerate(tokens.T):
            words, targets = column.unique(return_inverse=True)
            if len(words) > 1:
                self.words[position] = words
                self.weights[position] = linear_classifier(inputs, targets, len(words))

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation

    def shown(self, images: Tensor, tokens: Tensor) -> dict[int, Tensor]:
        """Return whether images (N, C, H, W) show the words of captions (N, T): a tensor (N,) for each position."""
        inputs = with_one(self._standardised(shape_features(images)))
        return {
            position: self.words[position][(inputs @ weights).argmax(1)] == tokens[:, position]
            for position, weights in self.weights.items()
        }


class CaptionWords(Plugin):
    """Share of generated images that show the words of their captions, for drawn shapes such as `captioned_shapes`.

    `words_all` is the share of images that show all words. `words` is the share of words that are shown. `word_3` is
    the share of images that show the third word of their caption, and so on, for each position with different words in
    the real captions. `words_real` is `words_all` of real images that were not used for training. It shows whether the
    metric can be trusted.

    The images must show one bright shape on a dark background, and all captions must have the same number of words. The
    metric computes the colours, the size and a normalised picture of the shape, and trains a linear classifier for each
    position on three quarters of the real images.

    Source: none. Reed 2016 and Zhang 2017 compare texts and images by eye.

    When to use: with the data `captioned_shapes`, and about 2,000 real images.
    When not: with photographs; `words_real` is then low.
    """

    name = "caption_words"
    kind = "metric"
    better: ClassVar = {
        "words_all": "higher",
        "words": "higher",
        **{f"word_{position}": "higher" for position in range(1, MAX_POSITIONS + 1)},
    }

    @hookimpl
    def compute_metrics(self, comparison: Comparison) -> dict[str, float] | None:
        real, fake = comparison.real, comparison.fake
        if not isinstance(real.described, TokenCondition) or fake.described != real.described:
            return None
        assert real.condition is not None, "samples with a description have a condition"
        assert fake.condition is not None, "samples with a description have a condition"
        if real.images.dim() != 4 or real.images.dtype != torch.uint8 or not of_one_form(real.condition):
            return None
        train = torch.arange(len(real.images)) % 4 > 0
        reader = CaptionReader(real.images[train], real.condition[train])
        if not reader.words:
            return None
        shown = reader.shown(fake.images, fake.condition)
        held_out = torch.stack([*reader.shown(real.images[~train], real.condition[~train]).values()])
        every = torch.stack([*shown.values()])
        return {
            "words_all": share(every.all(0)),
            "words": share(every),
            "words_real": share(held_out.all(0)),
            **{f"word_{position + 1}": share(one) for position, one in shown.items()},
        }


def of_one_form(tokens: Tensor) -> bool:
    """Return True if all captions (N, T) have the same number of words, at most `MAX_POSITIONS`."""
    lengths = (tokens > 0).sum(1)
    return bool((lengths == lengths[0]).all()) and int(lengths[0]) <= MAX_POSITIONS


def share(values: Tensor) -> float:
    """Return the share of true values."""
    return values.double().mean().item()
