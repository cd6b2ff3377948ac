"""Tricks: plugins that change how D and G are trained, how networks are built or how samples are drawn."""
