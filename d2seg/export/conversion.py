"""What a converter's failure comes to: one sentence, with its own long report behind it."""

import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from torch import nn

_LONGEST = 300
"""Characters of a converter's own reason; some quote the whole graph on one line."""


class ConversionError(ValueError):
    """Torch or the package of a format cannot convert a model; its own error is the cause."""


@contextmanager
def converting(step: str, model: nn.Module | None = None) -> Iterator[None]:
    """Keep a converter quiet, and its failure short.

    Converters warn of their own deprecations, log about every node, and print the graph so far when
    they fail; who exports a model can act on none of that.

    Args:
        step: What converts, as it begins the sentence, such as ``torch.export``.
        model: What is converted; with it the sentence names the part that fails.

    Raises:
        ConversionError: Whatever the converter raises, except for missing packages and files.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except (ImportError, OSError, ConversionError):
        raise
    except Exception as error:  # converters raise anything
        place, reason = _failing_part(error, model), _shortened(_root_of(error))
        raise ConversionError(
            f"{step} cannot convert the model{place}: {reason}. Choose another format, or change "
            "that part of the model; D2SEG_DEBUG=1 shows the whole error."
        ) from error
    finally:
        logging.disable(disabled)


def _root_of(error: BaseException) -> BaseException:
    """Return the first of the errors that led to this one."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _shortened(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    first = next((line for line in lines if line), "").rstrip(".:")
    if len(first) > _LONGEST:
        first = f"{first[:_LONGEST]} ..."
    return first or type(error).__name__


def _failing_part(error: BaseException, model: nn.Module | None) -> str:
    """Name the innermost module whose code was running; empty where none was."""
    names = {} if model is None else {id(one): name for name, one in model.named_modules()}
    frames = [frame for frame, _ in traceback.walk_tb(_root_of(error).__traceback__)]
    modules = [frame.f_locals.get("self") for frame in frames]
    running = [one for one in modules if isinstance(one, nn.Module)]
    known = [one for one in running if names.get(id(one))]
    if not running:
        return ""
    part = (known or running)[-1]
    name = names.get(id(part))
    return f" at '{name}' ({type(part).__name__})" if name else f" at {type(part).__name__}"
