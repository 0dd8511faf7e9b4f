"""Errors that programs written for detectron2 may expect as AssertionErrors."""


class InvalidArgumentError(ValueError, AssertionError):
    """A ValueError that ``except AssertionError`` catches too.

    detectron2 asserts its arguments; programs and tests written for it catch what that raises.
    """


class MetadataConflictError(AttributeError, AssertionError):
    """A value of some metadata was to become another; detectron2 asserts that it does not."""
