"""The Inception network with which papers measure the FID."""

from __future__ import annotations

import urllib.request
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from gankit import (
    Dataset,
    Extractor,
    Features,
    InputError,
    Plugin,
    Settings,
    cache_folder,
    hookimpl,
    to_rgb,
    write_bytes,
)
from gankit_plugins.extractor.torchscript import load

NAME = "inception-2015-12-05.pt"
URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{NAME}"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"


def fetch(path: Path) -> None:
    """Downloads the network to a path, if it is what it should be.

    Raises:
        InputError: it cannot be had, or is something else.
        GankitError: it cannot be written.
    """
    try:
        with urllib.request.urlopen(URL, timeout=60) as answer:
            data = answer.read()
    except (OSError, HTTPException) as error:
        raise InputError(f"download: {URL} cannot be had: {error}; fetch it yourself and name it by path") from error
    if sha256(data).hexdigest() != SHA256:
        raise InputError(f"download: what lies at {URL} is not the file it was; name one that you have by path")
    write_bytes(path, data, shared=True)


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

    class Config(Settings):
        path: Path | None = Field(
            None,
            description="the TorchScript file of this network, or of one that is called like it; ~ is the home folder; "
            f"by default {NAME} in $GANKIT_CACHE, or in ~/.cache/gankit",
        )
        download: bool = Field(False, description="fetch it from its publisher if it is not there")

    config: Config

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        given = self.config.path
        path = cache_folder() / NAME if given is None else given.expanduser()
        if not path.exists():
            if not self.config.download:
                raise InputError(
                    f"path: there is no {path}; download = true fetches it (96 MB) from its publisher, {URL}"
                )
            fetch(path)
        network, digest = load(path, device)
        # A file that the user names may be another network; its hash stands in the protocol.
        if given is None and digest != SHA256:
            raise InputError(f"path: {path} is not the file it was; remove it, and download = true fetches it anew")

        def look(images: Tensor) -> Features:
            with torch.no_grad():
                return Features(network(to_rgb(images.to(device)), return_features=True).flatten(1))

        def logits(images: Tensor) -> Tensor:
            with torch.no_grad():
                # The score of 2016 left the last layer's bias out.
                probabilities = network(to_rgb(images.to(device)), no_output_bias=True)
            log_p: Tensor = probabilities.clamp(min=1e-20).log()
            return log_p

        facts = {"extractor": f"inception {digest[:12]}", "resize": "by the network, to 299"}
        return Extractor(facts, look, logits=logits)
