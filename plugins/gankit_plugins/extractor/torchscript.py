"""A network in a TorchScript file as an extractor."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import torch
from pydantic import Field

from gankit import Dataset, Extractor, InputError, Plugin, Settings, hookimpl, network_extractor


def load(path: Path, device: torch.device) -> tuple[torch.jit.ScriptModule, str]:
    """The network, in evaluation mode, and the SHA-256 of its file.

    Raises InputError when it is missing or no TorchScript.
    """
    try:
        data = path.read_bytes()
        return torch.jit.load(BytesIO(data), map_location=device).eval(), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise InputError(f"path: {path} cannot be read: {error.strerror}") from error
    except RuntimeError as error:
        raise InputError(f"path: {path} is no TorchScript file: {str(error).splitlines()[0]}") from error


class TorchScript(Plugin):
    """Features from any network that was saved as TorchScript.

    Source: none. The network takes (B, 3, R, R) images in [-1, 1], grey ones three times over, and returns (B, F)
    features, or features and (B, K) logits. The file runs the code in it, so let it be one that you trust. A network in
    Python needs no file: `extractor.use = "package.module:Class"`.

    When to use: a network that suits the images better than Inception does.
    When not: to compare with papers.
    """

    name = "torchscript"
    kind = "extractor"

    class Config(Settings):
        path: Path = Field(description="the file; relative to the current folder")
        size: int | None = Field(None, ge=1, description="pixels to which images are resized, bilinearly, if need be")
        dataset_classes: bool = Field(
            False,
            description="its logits, or its only output, are of the dataset's classes in their order, as `modes` wants",
        )

    config: Config

    @hookimpl
    @torch.no_grad()
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        if self.config.dataset_classes and not dataset.class_names:
            raise InputError("dataset_classes: the dataset has no classes; leave it out")
        network, digest = load(self.config.path, device)
        class_names = dataset.class_names if self.config.dataset_classes else ()
        return network_extractor(
            network, device, f"{self.config.path.name} {digest[:12]}", self.config.size, class_names
        )
