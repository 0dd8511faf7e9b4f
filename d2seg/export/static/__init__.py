"""Models with fixed shapes: one size of image, outputs of fixed length with a count."""
