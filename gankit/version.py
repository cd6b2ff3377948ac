"""Versions of gankit and of its hook points."""

from __future__ import annotations

__version__ = "0.1.0"

API_VERSION = 1
"""Version of the hook points. It increases when a hook point is added.

A plugin declares the version that it needs as its `api_version`. A new argument of a hook point does not change the
version, because an implementation names only the arguments that it takes.
"""
