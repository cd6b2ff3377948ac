"""Feature extractor plugins. Metrics compare the features that an extractor computes from images."""
