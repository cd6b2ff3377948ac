"""What runs have come to: one run as a page, several side by side. Reads run directories alone, and needs no torch."""
