"""Layers for networks with a text: an encoder of the words, and conditioning augmentation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gankit import ImageCondition, InputError, Spec, TokenCondition
from gankit_plugins.layers.conditioning import numbers_of

WINDOW = 3
"""Number of neighbouring words that the text encoder reads together."""


class TextEncoder(nn.Module):
    """Encoder of texts: word embeddings, a convolution over neighbouring words, and the maximum over all positions.

    The convolution distinguishes "red circle on green" from "green circle on red". Padding does not change the result.

    Source: Kim 2014, section 2, with one window size instead of three.

    Args:
        words: number of known words.
        size: number of features of a word and of the text.
    """

    def __init__(self, words: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.words = nn.Embedding(words + 1, size, padding_idx=0)
        self.convolution = nn.Conv1d(size, size, WINDOW, padding=WINDOW // 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the features (B, size) of texts, given as token indices (B, T)."""
        features = F.relu(self.convolution(self.words(tokens).transpose(1, 2)))
        # ReLU makes all features at least 0. Positions without a word are set to 0, so they do not affect the maximum.
        return (features * (tokens > 0)[:, None]).amax(2)


class ConditionNumbers(nn.Module):
    """Condition as a vector: unchanged numbers (B, K), or the one-hot vectors of classes (B,)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, condition: Tensor) -> Tensor:
        return numbers_of(condition, self.size)


def condition_encoder(spec: Spec, owner: str, size: int) -> TextEncoder | ConditionNumbers:
    """Return a module that maps a condition to vectors (B, E), where E is the attribute `size` of the module.

    Texts have a learned encoder with E = `size`. Numbers, such as sentence embeddings, and classes are used directly.

    Args:
        spec: specification with the condition.
        owner: name of the plugin, for the error message.
        size: number of features of a text.

    Raises:
        InputError: the data have no condition, or source images.
    """
    condition = spec.condition
    if condition is None or isinstance(condition, ImageCondition):
        has = "no condition" if condition is None else condition.describe()
        raise InputError(
            f"{owner} needs texts, numbers or classes, and the data have {has}; for texts beside the images, set "
            "data.captions = true"
        )
    if isinstance(condition, TokenCondition):
        return TextEncoder(len(condition.words), size)
    return ConditionNumbers(spec.classes or condition.shape[0])


def divergence(mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Return KL(N(mu, sigma^2) || N(0, I)) in nats, a scalar: the sum over all dimensions, averaged over the batch.

    Args:
        mean: mu, (B, n).
        log_deviation: ln sigma, (B, n).

    Source: Zhang 2017, section 3.2, equation 2.
    """
    terms = (mean.square() + (2 * log_deviation).exp() - 1) / 2 - log_deviation
    return terms.sum(1).mean()


class ConditioningAugmentation(nn.Module):
    """Random vector around a text: mu + sigma * epsilon. mu and sigma are linear functions of the text's features.

    Source: Zhang 2017, section 3.2. epsilon is an argument here, so that equal inputs give equal outputs.

    Args:
        features: number of features of the text.
        size: number of dimensions of the random vector.
    """

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.distribution = nn.Linear(features, 2 * size)

    def parameters_of(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and ln sigma, (B, size) each, of a text with the given features, (B, F)."""
        mean, log_deviation = self.distribution(features).chunk(2, 1)
        return mean, log_deviation

    def forward(self, features: Tensor, epsilon: Tensor) -> Tensor:
        """Return mu + sigma * epsilon, (B, size), for features (B, F) and epsilon (B, size) from N(0, 1)."""
        mean, log_deviation = self.parameters_of(features)
        return torch.addcmul(mean, log_deviation.exp(), epsilon.to(mean.dtype))
