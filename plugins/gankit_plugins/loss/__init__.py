"""Loss plugins."""
