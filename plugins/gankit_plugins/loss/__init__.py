"""Loss plugins. They compute the losses of D and G."""
