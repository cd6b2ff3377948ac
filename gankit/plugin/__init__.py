"""Plugin interface: base class, hook points, registry, and the types that plugins use."""
