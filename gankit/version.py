"""The version of gankit and of its hook points."""

from __future__ import annotations

__version__ = "0.1.0"

API_VERSION = 1
"""Version of the hook points. It grows when a hook point is added.

A plugin that needs a newer hook point declares it with its `api_version`. A new argument does not change the version,
because an implementation names only the arguments that it takes.
"""
