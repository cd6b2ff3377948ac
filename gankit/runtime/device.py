"""Selection of the device for a run, and properties of devices, such as the free memory of an accelerator."""

from __future__ import annotations

from types import ModuleType

import torch

from gankit.errors import InputError


def accelerators() -> list[str]:
    """Return a list with the type of this machine's accelerator, such as `cuda`, `mps` or `xpu`.

    Without an accelerator, the list is empty. PyTorch also uses the name `cuda` for AMD GPUs with ROCm.
    """
    # Without an accelerator, `current_accelerator` raises an error in torch 2.6.
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return [] if device is None else [device.type]


def choose_device(name: str) -> torch.device:
    """Return the PyTorch device with the given name. `auto` selects an accelerator if there is one, otherwise the CPU.

    Raises:
        InputError: the name is not a PyTorch device, or this machine cannot use the device.
    """
    if name == "auto":
        return torch.device((accelerators() or ["cpu"])[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"train.device: {name!r} is no device; use auto, cpu, cuda, cuda:1, mps or xpu") from None
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        module = accelerator_module(name.partition(":")[0])
        missing = module is None or not module.is_available()
        reason = f"this machine has no {name}" if missing else str(error).splitlines()[0]
        raise InputError(f"train.device: {name!r} cannot be used here ({reason}); use cpu") from error
    return device


def accelerator_module(device_type: str) -> ModuleType | None:
    """Return PyTorch's module for a device type, such as `torch.cuda`, or None for the CPU and for unknown types."""
    if device_type == "cpu":
        return None
    try:
        return torch.get_device_module(device_type)
    except RuntimeError:
        return None


def free_memory(device: torch.device) -> int | None:
    """Return the free memory of a device in bytes, or None if PyTorch does not report it.

    PyTorch does not report the free memory of the CPU and of `mps`.
    """
    mem_get_info = getattr(accelerator_module(device.type), "mem_get_info", None)
    return None if mem_get_info is None else int(mem_get_info(device)[0])


def computes_in_bf16(device: torch.device) -> bool:
    """Return True if the device supports bfloat16 in hardware. On other devices, bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # Older versions of torch do not have `torch.cpu.get_capabilities`.
        capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    supported = getattr(accelerator_module(device.type), "is_bf16_supported", None)
    return bool(supported is not None and supported())
