"""Prior distributions of z, the input of the generator."""
