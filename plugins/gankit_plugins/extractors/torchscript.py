"""A network in a TorchScript file as an extractor."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from gankit import Dataset, Extractor, Features, InputError, Plugin, Settings, hookimpl


def load(path: Path, device: torch.device) -> tuple[torch.jit.ScriptModule, str]:
    """The network, in evaluation mode, and the SHA-256 of its file.

    Raises InputError when it is missing or no TorchScript.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return torch.jit.load(str(path), map_location=device).eval(), digest
    except OSError as error:
        raise InputError(f"path: {path} cannot be read: {error.strerror}") from error
    except RuntimeError as error:
        raise InputError(f"path: {path} is no TorchScript file: {str(error).splitlines()[0]}") from error


def in_colour(images: Tensor) -> Tensor:
    """Grey images three times over; others as they are."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


class TorchScript(Plugin):
    """Features from any network that was saved as TorchScript.

    Source: none. The network takes (B, 3, R, R) images in [-1, 1], grey ones three times over, and returns (B, F)
    features, or features and (B, K) logits. The file runs the code in it, so let it be one that you trust.

    When to use: a network that suits the images better than Inception does.
    When not: to compare with papers.
    """

    name = "torchscript"
    kind = "extractor"
    api_version = 2

    class Config(Settings):
        path: Path = Field(description="the file; relative to the current folder")
        size: int | None = Field(None, ge=1, description="pixels to which images are resized, bilinearly, if need be")

    config: Config

    @hookimpl
    @torch.no_grad()
    def build_extractor(self, dataset: Dataset, device: torch.device) -> Extractor:
        network, digest = load(self.config.path, device)
        size = self.config.size

        def look(images: Tensor) -> Features:
            shown = in_colour(images.to(device).float() / 127.5 - 1)
            if size is not None and shown.shape[-1] != size:
                shown = interpolate(shown, size, mode="bilinear", antialias=True)
            with torch.no_grad():
                answer: Any = network(shown)
            values, logits = answer if isinstance(answer, tuple) else (answer, None)
            return Features(values.flatten(1), logits)

        facts = {
            "extractor": f"{self.config.path.name} {digest[:12]}",
            "resize": f"bilinear to {size}" if size else "none",
        }
        return Extractor(facts, look)
