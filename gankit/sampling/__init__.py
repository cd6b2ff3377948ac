"""From a generator to samples."""
