"""Training: what the plugin adds to the framework's trainer."""
