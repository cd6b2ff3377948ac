"""Feature extractor with the Inception network of 2015, which papers use for FID."""

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
    RecipePath,
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
    """Download the network to `path`, and check its SHA-256. Raise InputError if the download or the check fails."""
    try:
        with urllib.request.urlopen(URL, timeout=60) as response:
            data = response.read()
    except (OSError, HTTPException) as error:
        raise InputError(f"download: {URL}: {error}; download the file yourself and set extractor.path") from error
    if sha256(data).hexdigest() != SHA256:
        raise InputError(f"download: {URL} is not the expected file; set extractor.path to a copy of it")
    write_bytes(path, data, shared=True)


class Inception(Plugin):
    """Features of the Inception network of 2015, which papers use for FID, KID and Inception score.

    The network resizes images to 299x299 in the same way as the original FID. Grey images are repeated in three
    channels. gankit does not contain the network. Set its path, or set `download` to let gankit download it (95,607,719
    bytes, checked by SHA-256).

    Source: Szegedy 2016; TorchScript version of the original network by Karras 2020.

    When to use: for photographs, and to compare with papers.
    When not: for digits, drawings and other images that are unlike ImageNet's images; use `classifier`.
    """

    name = "inception"
    kind = "extractor"

    class Config(Settings):
        path: RecipePath | None = Field(
            None,
            description="TorchScript file of this network, or of one with the same interface; "
            f"default: {NAME} in $GANKIT_CACHE, or in ~/.cache/gankit",
        )
        download: bool = Field(False, description="whether to download the file from its publisher if it is missing")

    config: Config

    @hookimpl
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        given = self.config.path
        path = cache_folder() / NAME if given is None else given
        if not path.exists():
            if not self.config.download:
                raise InputError(f"path: {path} does not exist; set download = true to download it (96 MB) from {URL}")
            fetch(path)
        network, digest = load(path, device)
        # Check only the hash of the default file, because a file that the user names may contain another network.
        if given is None and digest != SHA256:
            raise InputError(f"path: {path} is not the expected file; remove it and set download = true")

        def features(images: Tensor) -> Features:
            with torch.no_grad():
                return Features(network(to_rgb(images.to(device)), return_features=True).flatten(1))

        def logits(images: Tensor) -> Tensor:
            with torch.no_grad():
                # Omit the bias of the last layer, as in the original Inception score.
                probabilities = network(to_rgb(images.to(device)), no_output_bias=True)
            log_p: Tensor = probabilities.clamp(min=1e-20).log()
            return log_p

        facts = {"extractor": f"inception {digest[:12]}", "resize": "by the network, to 299"}
        return Extractor(facts, features, logits=logits)
