"""How good a generator is: generated images beside real ones, seen through an extractor of features."""
