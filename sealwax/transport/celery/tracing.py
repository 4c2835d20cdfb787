"""What a child sends back of an attempt that raised: the exception, without its traceback.

Celery pickles the whole traceback, frame by frame, and the worker's main process
unpickles it in its event loop: several times what all else of a message costs
there, so that a burst of failing tasks delayed everybody's. Nothing of it is
used in that process. Hooks, signals and result backends have had it before.

Used by the task class; must never touch what an attempt returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback

__all__ = ["without_traceback"]


def without_traceback(tracer: Callable[..., Any]) -> Callable[..., Any]:
    """Return Celery's tracer of a task, its outcome lightened."""

    def trace(*args: Any, **kwargs: Any) -> Any:
        outcome = tracer(*args, **kwargs)
        found = outcome[0]
        if isinstance(found, ExceptionInfo):
            found.tb, found.traceback = None, ""
            if isinstance(found.exception, ExceptionWithTraceback):
                found.exception.tb = ""
        return outcome

    return trace
