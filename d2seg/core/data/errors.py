"""The error for arguments that make no sense, where scripts may expect an AssertionError."""

from d2seg.core.runtime.errors import InvalidArgumentError

__all__ = ["InvalidArgumentError"]
