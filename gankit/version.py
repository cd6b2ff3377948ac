"""Version of gankit, and version of its set of hook points."""

from __future__ import annotations

__version__ = "0.1.0"

API_VERSION = 1
"""Version of the hook points (methods that a plugin can implement). The version increases with each new hook point.

The attribute `api_version` of a plugin is the minimum version that the plugin needs. A new argument of a hook point
does not change the version, because a hook implementation names only the arguments that it uses.
"""
