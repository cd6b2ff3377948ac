"""The device of a run."""

from __future__ import annotations

import torch

from gankit.errors import InputError


def choose_device(name: str) -> torch.device:
    """`auto` or a torch device's name to a device that is there.

    Raises InputError for a device that is not.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"train.device: {name!r} given; it cannot be used here ({reason}); cpu always can") from error
    return device


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is native to the processor, and so faster than float32 rather than slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch cannot say.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
