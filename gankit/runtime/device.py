"""Selection of the device for a run, and detection of bfloat16 support."""

from __future__ import annotations

import torch

from gankit.errors import InputError


def choose_device(name: str) -> torch.device:
    """Return the PyTorch device with the given name. `auto` selects a GPU if there is one, otherwise the CPU.

    Raises:
        InputError: the device cannot be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"train.device: {name!r} cannot be used here ({reason}); cpu always can") from error
    return device


def computes_in_bf16(device: torch.device) -> bool:
    """Return True if the device supports bfloat16 in hardware. Otherwise, bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Older versions of torch do not have `torch.cpu.get_capabilities`.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
