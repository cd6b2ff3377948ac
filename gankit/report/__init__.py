"""Reports: one run as an HTML page, several runs side by side. Reads run directories and does not import torch."""
