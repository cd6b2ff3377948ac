"""The Inception network with which papers measure the FID."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from gankit import Dataset, Extractor, Features, InputError, Plugin, Settings, hookimpl
from gankit_plugins.extractors.torchscript import in_colour, load

URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


def fetch(path: Path) -> None:
    """Downloads the network to a path, if it is what it should be.

    Raises InputError when it cannot be had, or is something else.
    """
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer:
            data = answer.read()
    except OSError as error:
        raise InputError(f"download: {URL} cannot be had: {error}; fetch it yourself and name it by path") from error
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise InputError(f"download: what lies at {URL} is not the file it was; name one that you have by path")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".tmp-{path.name}")
    beside.write_bytes(data)
    beside.rename(path)


class Inception(Plugin):
    """Features of the Inception network of 2015, for numbers that papers print: FID, KID, Inception score.

    Source: Szegedy 2016, in the translation to TorchScript of the original network that Karras 2020 published, which
    resizes images to 299x299 as the first FID did. It is not part of gankit: name its file, or let gankit download it
    (95,607,719 bytes, checked by its SHA-256). Grey images are shown to it in three channels.

    When to use: photographs; to compare with papers.
    When not: digits, drawings and anything that ImageNet does not hold: `classifier` sees these better.
    """

    name = "inception"
    kind = "extractor"
    api_version = 2

    class Config(Settings):
        path: Path = Field(
            Path("~/.cache/gankit/inception-2015-12-05.pt"), description="the TorchScript file; ~ is the home folder"
        )
        download: bool = Field(False, description="fetch it from its publisher if it is not there")

    config: Config

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        path = self.config.path.expanduser()
        if not path.exists():
            if not self.config.download:
                raise InputError(
                    f"path: there is no {path}; download = true fetches it (96 MB) from its publisher, {URL}"
                )
            fetch(path)
        network, digest = load(path, device)

        def look(images: Tensor) -> Features:
            shown = in_colour(images.to(device))
            with torch.no_grad():
                values = network(shown, return_features=True)
                # The score of 2016 left the last layer's bias out.
                probabilities = network(shown, no_output_bias=True)
            return Features(values.flatten(1), probabilities.clamp(min=1e-20).log())

        return Extractor({"extractor": f"inception {digest[:12]}", "resize": "by the network, to 299"}, look)
