"""Reports: HTML pages and tables of one or several runs, from run directories. The package does not import torch."""
