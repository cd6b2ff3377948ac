"""Feature extractor for sounds: loudness in bands of frequency and parts of time."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from gankit import Dataset, Extractor, Features, InputError, Plugin, hookimpl
from gankit_plugins.extractor.bundled import class_head
from gankit_plugins.layers.sounds import magnitudes

WINDOW, HOP = 512, 128
"""Length and distance of the windows of the spectrogram, in samples."""

BANDS, PARTS = 32, 4
"""Number of bands of frequency, and number of equal parts of the time. Their product is the number of features."""

FLOOR = 1e-3
"""Magnitude that is added before the logarithm, so that silence and inaudible noise have similar features."""

VERSION = "1"


def band_edges(frequencies: int) -> Tensor:
    """Return the edges of the bands, (BANDS + 1,), as indices of the frequencies 1 to `frequencies` - 1.

    The bands have equal widths on a logarithmic scale, but at least one frequency each.
    """
    edges = torch.logspace(0, torch.tensor(frequencies).log10().item(), BANDS + 1).round().long()
    return torch.maximum(edges, torch.arange(1, BANDS + 2)).clamp(max=frequencies)


def loudness(sounds: Tensor) -> Tensor:
    """Return the loudness of sounds (N, C, L) in bands and parts, (N, BANDS * PARTS). The channels are averaged.

    The loudness is the logarithm of the mean magnitude of a band, averaged over a part.
    """
    spectrum = magnitudes(sounds.float(), WINDOW, HOP).mean(1)
    edges = band_edges(spectrum.shape[1]).tolist()
    pairs = itertools.pairwise(edges)
    bands = torch.stack([spectrum[:, low : max(high, low + 1)].mean(1) for low, high in pairs], 1)
    return adaptive_avg_pool1d((bands + FLOOR).log(), PARTS).flatten(1)


class Spectrogram(Plugin):
    """Loudness of sounds in 32 bands of frequency and 4 parts of the time, as 128 features.

    The bands have equal widths on a logarithmic scale. The loudness is the logarithm of the magnitude of the short-time
    Fourier transform, with a Hann window of 512 samples. If the dataset has classes, a linear classifier of its classes
    is computed from the features, as in the extractor `bundled`. Its accuracy is in the protocol.

    Source: none. Kilgour 2019 (Frechet audio distance) uses a trained network instead.

    When to use: to compare runs on sounds with `frechet_distance`, `precision_recall` or `modes`.
    When not: to compare with the Frechet audio distance in papers.
    """

    name = "spectrogram"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        if len(dataset.shape) != 2 or dataset.shape[1] < WINDOW:
            raise InputError(
                f"spectrogram needs sounds of at least {WINDOW} samples, and a sample has shape "
                f"{'x'.join(map(str, dataset.shape))}; choose another extractor"
            )

        def features_of(sounds: Tensor) -> Tensor:
            return loudness(sounds.to(device)).cpu()

        protocol: dict[str, str | int | float] = {"extractor": f"spectrogram {VERSION}", "resize": "none"}
        sounds, labels, _ = dataset.read()
        if labels is None or not dataset.class_names:
            return Extractor(protocol, lambda images: Features(features_of(images)))
        weight, bias, accuracy, useful = class_head(sounds, labels, len(dataset.class_names), VERSION, features_of)
        protocol["class accuracy"] = round(accuracy, 4) if useful else f"{accuracy:.4f}, at chance: no class metrics"
        if not useful:
            return Extractor(protocol, lambda images: Features(features_of(images)))

        def extract(images: Tensor) -> Features:
            values = features_of(images)
            return Features(values, (values.double() @ weight.T + bias).float())

        return Extractor(protocol, extract, dataset.class_names)
