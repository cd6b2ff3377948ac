"""Context manager that calls functions with the outputs of modules inside a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

OutputFunction = Callable[[Tensor], Tensor | None]
"""Function that takes the output of a module. It returns a replacement for the output, or None to keep the output."""


def _call(function: OutputFunction, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
    return function(output)


@contextmanager
def forward_hooks(network: nn.Module, functions: Mapping[str, OutputFunction]) -> Iterator[None]:
    """Call functions with the outputs of a network's modules during the `with` block.

    The keys of `functions` are the names of the modules.
    """
    with ExitStack() as stack:
        for name, function in functions.items():
            handle = network.get_submodule(name).register_forward_hook(partial(_call, function))
            stack.callback(handle.remove)
        yield
