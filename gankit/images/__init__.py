"""Image grids, image files, animations and terminal pictures."""
