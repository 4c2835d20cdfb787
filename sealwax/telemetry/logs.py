"""JSON logs of every role, without payloads.

`configure_logging` is called once by each role. Exceptions are rendered as
class names and code places only: their texts may hold the payload.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, TextIO

import structlog

__all__ = [
    "code_place",
    "configure_command_logging",
    "configure_logging",
    "describe_exception",
    "task_runs",
    "within_task",
]

#: Frames kept of a traceback, the innermost ones.
_FRAMES = 12


def describe_exception(error: BaseException) -> dict[str, Any]:
    """Return an exception's class, code places and causes; never its text."""
    chain: list[dict[str, Any]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(chain) < 5:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)[-_FRAMES:]
        chain.append(
            {
                "class": f"{type(current).__module__}.{type(current).__qualname__}",
                "at": [f"{_short(f.filename)}:{f.lineno}:{f.name}" for f in frames],
            }
        )
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
    return chain[0] | ({"caused_by": chain[1:]} if len(chain) > 1 else {})


def code_place(error: BaseException, package: str) -> str | None:
    """Return module and function where an exception arose, as far as a package's own code goes.

    Without a line number, so that it survives a deploy; None where there is no
    frame. Groups of dead letters are told apart by it.

    Parameters
    ----------
    package
        Its innermost frame counts; the innermost of all where it has none.
    """
    place: str | None = None
    own = False
    step = error.__traceback__
    while step is not None:
        module = str(step.tb_frame.f_globals.get("__name__", ""))
        ours = module == package or module.startswith(f"{package}.")
        if ours or not own:
            place = f"{module}:{step.tb_frame.f_code.co_name}"
        own = own or ours
        step = step.tb_next
    return place


def _short(filename: str) -> str:
    # Paths of one machine say nothing; the last folders do.
    return "/".join(filename.replace("\\", "/").split("/")[-3:])


def _redact_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info: Any = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, tuple):
        info = info[1]
    if isinstance(info, BaseException):
        event["exception"] = describe_exception(info)
    event.pop("stack_info", None)
    return event


_PLACEHOLDER = re.compile(r"\[?%(\([a-z_]+\))?[srd]\]?")

#: What the transport says beside its words; anything else of `extra` is left out.
_EXTRA = ("queue", "reason", "job", "code", "error", "counters", "message_id")

#: Loggers whose messages hold exception texts or arguments: only the template is kept.
_TEMPLATE_ONLY = (
    "celery.app.trace",
    "celery.pool",
    "celery.worker.consumer.consumer",
    "celery.worker.request",
    "celery.worker.strategy",
)


def _keep_template(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the message's template where its arguments may hold exception texts."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord) and record.name in _TEMPLATE_ONLY:
        # "Task %(name)s[%(id)s] received" becomes "task received"; id and name
        # are members of their own.
        words = _PLACEHOLDER.sub("", str(record.msg).split("\n")[0]).split()
        event["event"] = " ".join(words).strip(" :.").lower() or record.name
        data = record.args if isinstance(record.args, dict) else getattr(record, "data", None)
        if isinstance(data, dict):
            event.update({key: data[key] for key in ("id", "name", "runtime") if key in data})
    return event


#: Loggers of the machinery: their words hold no payload, tasks running or not.
_MACHINERY = (
    "sealwax",
    "celery.app",
    "celery.bootsteps",
    "celery.concurrency",
    "celery.pool",
    "celery.worker",
    "kombu",
)


class _Tasks:
    """How many tasks this process runs now; a task's own threads are not told apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.running = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        with self._lock:
            self.running += 1
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1


_tasks = _Tasks()


def within_task() -> contextlib.AbstractContextManager[None]:
    """Withhold, while a task runs, what others than the machinery say.

    Libraries put what they are given into their messages. Logger, level, place
    and the job stay; so does all that `job.log` says.
    """
    return _tasks.one()


def task_runs() -> bool:
    """Return whether a task runs in this process now."""
    return _tasks.running > 0


def _withhold(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    name = str(event.get("logger"))
    ours = any(name == known or name.startswith(f"{known}.") for known in _MACHINERY)
    if ours or not _tasks.running:
        return event
    kept = ("_record", "_from_structlog", "level", "logger", "timestamp", "exception")
    found: MutableMapping[str, Any] = {key: event[key] for key in kept if key in event}
    found.update(structlog.contextvars.get_contextvars())
    found["event"] = "message withheld"
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        found["at"] = f"{_short(record.pathname)}:{record.lineno}"
    return found


def _log_warning(
    message: Warning | str,  # noqa: ARG001 - its text may hold what it warns of
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - the signature of warnings.showwarning
    line: str | None = None,  # noqa: ARG001 - the same
) -> None:
    structlog.get_logger("sealwax.warnings").warning(
        "warning", category=category.__name__, at=f"{_short(filename)}:{lineno}"
    )


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Puts class names in place of exceptions that stand in a record's message."""

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict) and not (record.args or record.exc_text):
            return super().format(record)  # structlog's: its processors have seen to exceptions
        # A copy: other handlers see the record as it was.
        record = logging.makeLogRecord(record.__dict__)
        record.exc_text = None
        record.msg = _without_text(record.msg)
        if isinstance(record.args, Mapping):
            record.args = {name: _without_text(value) for name, value in record.args.items()}
        else:
            record.args = tuple(_without_text(value) for value in record.args or ())
        return super().format(record)


def _without_text(value: Any) -> Any:
    # billiard's ExceptionInfo prints a whole traceback.
    if isinstance(value, BaseException) or type(value).__name__ == "ExceptionInfo":
        return type(value).__name__
    return value


class _Handler(logging.StreamHandler[TextIO]):
    """Says which record could not be written, but not its arguments, as the base would."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its base's name
        kind = sys.exc_info()[0]
        line = {
            "event": "log record could not be written",
            "level": "error",
            "logger": record.name,
            "at": f"{_short(record.pathname)}:{record.lineno}",
            "error": kind.__name__ if kind else "",
        }
        # The stream itself may be what is broken.
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(json.dumps(line) + self.terminator)


def configure_command_logging() -> None:
    """Send structlog's warnings and errors to stderr, as a command's own output is on stdout.

    A role that a command starts calls `configure_logging` later, which takes over.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _redact_exception,
            _withhold,
            structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        # Looked up at each line: whoever calls the command may have replaced it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def configure_logging(role: str, level: str = "INFO") -> None:
    """Send structlog's and the standard library's records to stdout as JSON lines.

    Parameters
    ----------
    role
        `api`, `worker`, …; stands in every line.
    level
        Least level that is written.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact_exception,
    ]
    structlog.configure(
        processors=[*shared, _withhold, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )

    def add_role(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["role"] = role
        return event

    formatter = _Formatter(
        foreign_pre_chain=[
            *shared,
            structlog.stdlib.ExtraAdder(allow=_EXTRA),
            _keep_template,
            _withhold,
        ],
        processors=[
            add_role,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(default=lambda value: type(value).__name__),
        ],
    )
    handler = _Handler(sys.stdout)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # botocore and urllib3 write headers and bodies at DEBUG, and at INFO where
    # they found credentials. Celery's tracer says of each job once more what the
    # attempt has said: a tenth of what a job without work costs its process.
    quiet = ("botocore", "boto3", "urllib3", "s3transfer", "kombu", "requests", "celery.app.trace")
    for name in quiet:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # Unhandled errors of threads and of the main program are logged like others.
    sys.excepthook = _log_unhandled
    threading.excepthook = _log_unhandled_in_thread
    sys.unraisablehook = _log_unraisable
    warnings.showwarning = _log_warning


def _log_unhandled(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    logging.getLogger("sealwax").critical("unhandled", exc_info=(kind, error, trace))


def _log_unhandled_in_thread(found: threading.ExceptHookArgs) -> None:
    # A thread that ends itself by SystemExit is no error (the default hook's view too).
    if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
        _log_unhandled(found.exc_type, found.exc_value, found.exc_traceback)


def _log_unraisable(found: sys.UnraisableHookArgs) -> None:
    if found.exc_value is not None:
        _log_unhandled(found.exc_type, found.exc_value, found.exc_traceback)
