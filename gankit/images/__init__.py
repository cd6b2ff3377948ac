"""Image grids, image files, animations and images in the terminal."""
