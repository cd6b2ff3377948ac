"""Generator plugins."""
