"""Helpers that know nothing of models: files, devices, the event stack."""
