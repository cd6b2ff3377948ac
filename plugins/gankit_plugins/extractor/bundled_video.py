"""Feature extractor for video: features of the bundled network for frames and for differences of frames."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor

from gankit import Dataset, Extractor, Features, InputError, Plugin, hookimpl
from gankit_plugins.extractor.bundled import CHUNK, NETWORKS, load_network, resize


def clip_features(clips: Tensor, features_of: Callable[[Tensor], Tensor]) -> Tensor:
    """Return features of clips, (N, 2 F): means over time for the frames, and for the differences of frames.

    Args:
        clips: (N, C, T, H, W) uint8, with T at least 2.
        features_of: function that returns the features (M, F) of images (M, C, H, W) uint8. The difference of a frame
            from the previous one is scaled from [-255, 255] to [0, 255], so that grey means no change.
    """
    frames = clips.transpose(1, 2)
    differences = ((frames[:, 1:].int() - frames[:, :-1].int() + 256) // 2).clamp(max=255).to(torch.uint8)
    means = [
        features_of(images.flatten(0, 1)).unflatten(0, images.shape[:2]).mean(1) for images in (frames, differences)
    ]
    return torch.cat(means, 1)


class BundledVideo(Plugin):
    """Features of frames and of differences of successive frames, from the small network of the extractor `bundled`.

    The network is trained on CIFAR-10 (for colour) or on MNIST (for grey). Its 128 features are averaged over the
    frames of a clip. Another 128 features are averages over the differences of successive frames, and depend on the
    motion. The order of the frames has no influence beyond these differences. With this extractor,
    `frechet_distance` is a Frechet distance of clips, similar to that of Unterthiner 2018, which needs a network for
    video. Two machines get the same features up to rounding.

    Source: none for the averages; Unterthiner 2018 for the Frechet distance of video.

    When to use: to compare runs on video, on any machine.
    When not: to compare with the FVD in papers.
    """

    name = "bundled_video"
    kind = "extractor"

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        if len(dataset.shape) != 4 or dataset.shape[1] < 2 or dataset.channels not in NETWORKS:
            raise InputError(
                "bundled_video needs video of at least 2 frames with 1 or 3 channels, and a sample has shape "
                f"{'x'.join(map(str, dataset.shape))}; choose another extractor"
            )
        loaded, facts, digest = load_network(dataset.channels)
        name, size = NETWORKS[dataset.channels]
        network = deepcopy(loaded).to(device)  # a copy, because the cached network may be needed on another device

        def features_of(images: Tensor) -> Tensor:
            with torch.no_grad():
                inputs = (resize(part.to(device), size) for part in images.split(CHUNK))
                return torch.cat(
                    [network(part.contiguous(memory_format=torch.channels_last))[0].cpu() for part in inputs]
                )

        protocol: dict[str, str | int | float] = {
            "extractor": f"bundled video {name} {facts['version']} {digest[:12]}",
            "trained on": f"{facts['training data']}, accuracy {facts['accuracy']}",
            "resize": f"bilinear to {size}",
        }
        return Extractor(protocol, lambda clips: Features(clip_features(clips, features_of)))
