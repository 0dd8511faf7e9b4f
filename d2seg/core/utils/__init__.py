"""Re-exports under detectron2's ``utils`` paths; nothing else in the framework depends on these."""
