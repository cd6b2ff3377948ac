"""Penalties: plugins that add a term to the loss of D or G."""
