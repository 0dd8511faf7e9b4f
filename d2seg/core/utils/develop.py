"""Stand-ins for what an optional package would provide."""

from collections.abc import Callable, Sequence
from typing import Any


def create_dummy_class(klass: str, dependency: str, message: str = "") -> type:
    """Make a class whose use raises ImportError.

    Args:
        klass: Its name.
        dependency: The package that is missing.
        message: More to say.
    """
    sentence = _sentence(klass, dependency, message)

    class _DummyMetaclass(type):
        def __getattr__(cls, name: str) -> Any:
            raise ImportError(sentence)

    def refuse(self: object, *args: Any, **kwargs: Any) -> None:
        raise ImportError(sentence)

    return _DummyMetaclass(klass, (), {"__init__": refuse})


def create_dummy_func(
    func: str, dependency: str | Sequence[str], message: str = ""
) -> Callable[..., Any]:
    """Make a function that raises ImportError; arguments as of `create_dummy_class`."""
    wanted = dependency if isinstance(dependency, str) else ", ".join(dependency)
    sentence = _sentence(func, wanted, message)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise ImportError(sentence)

    return refuse


def _sentence(name: str, dependency: str, message: str) -> str:
    return f"'{name}' needs {dependency}, which is not installed. {message}".strip()
