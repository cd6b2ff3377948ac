"""Recipe files: reading, validation and comparison."""
