"""Models beyond detectron2's own that its repository publishes as projects, under their names."""
