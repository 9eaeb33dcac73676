"""Imports the object that `module:object` names."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from batchjobs.errors import UsageError

OBJECT = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


def imported(spec: str, base: Path, where: str) -> Any:
    """The object that `module:object` names; `base` goes to the end of sys.path and stays there.

    At the end it can shadow nothing that is installed. Raises UsageError, which begins with `where`.
    """
    match = OBJECT.fullmatch(spec)
    if match is None:
        raise UsageError(f"{where}: {spec!r} is not of the form module:object, such as my_tasks:summarise.")
    module, name = match.groups()
    if str(base.resolve()) not in sys.path:
        sys.path.append(str(base.resolve()))
        importlib.invalidate_caches()
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        reason = f"{module} cannot be imported ({error})"
        raise UsageError(f"{where}: {reason}: run from the directory it is in, or install it.") from None
    except SyntaxError as error:
        raise UsageError(f"{where}: {module} has a syntax error in line {error.lineno}: correct it.") from None
    except AttributeError as error:
        raise UsageError(f"{where}: {module} has no {name}, or fails while loading ({error}).") from None
