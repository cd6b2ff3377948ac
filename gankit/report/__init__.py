"""Reports of one or several runs, as HTML pages and tables. The package does not import torch."""
