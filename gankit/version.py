"""Version of gankit, and version of its set of hook points."""

from __future__ import annotations

__version__ = "0.1.0"

API_VERSION = 1
"""Version of the set of hook points. It increases when a hook point is added.

A plugin declares in `api_version` the version that it needs. A new argument of a hook point does not change the
version, because an implementation names only the arguments that it uses.
"""
