"""The error for arguments that make no sense, where scripts may expect an AssertionError."""


class InvalidArgumentError(ValueError, AssertionError):
    """A ValueError that ``except AssertionError`` catches too.

    detectron2 asserts its arguments; programs and tests written for it catch what that raises.
    """
