"""Log lines are JSON and never hold an exception's text, whoever wrote them."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from sealwax.telemetry.logs import code_place, configure_logging, describe_exception, within_task

CANARY = "canary-4242"


class Lines:
    """Configured logging; called, it returns the lines written so far, none with the canary."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._stream = io.StringIO()

    def configure(self, level: str) -> None:
        configure_logging("worker", level)
        # Pytest puts another stdout in place between a test's phases.
        (handler,) = _without_pytest_s_handlers()
        handler.setStream(self._stream)  # type: ignore[attr-defined]

    def __call__(self) -> list[dict[str, Any]]:
        captured, written = self._capsys.readouterr(), self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        assert (captured.out, captured.err) == ("", "")
        assert CANARY not in written
        return [json.loads(line) for line in written.splitlines()]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    levels = {name: logging.getLogger(name).level for name in ("botocore", "boto3", "urllib3",
              "s3transfer", "kombu", "requests")}  # fmt: skip
    showwarning = warnings.showwarning
    found = Lines(capsys)
    found.configure("INFO")
    yield found
    warnings.showwarning = showwarning
    root.handlers[:] = handlers
    root.setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _raise(depth: int = 1) -> None:
    if depth:
        _raise(depth - 1)
    raise ValueError(f"text {CANARY}")


def _caught() -> ValueError:
    try:
        _raise()
    except ValueError as error:
        return error
    raise AssertionError


class Info:
    """Stands for billiard's ExceptionInfo: prints a traceback."""

    def __str__(self) -> str:
        return f"Traceback … {CANARY}"


Info.__name__ = "ExceptionInfo"


def _without_pytest_s_handlers() -> list[logging.Handler]:
    """Pytest's own fail a test whose record cannot be formatted."""
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if type(h).__module__ == "sealwax.telemetry.logs"]
    return root.handlers


# -- form ----------------------------------------------------------------------------


def test_a_line_says_when_who_and_how_bad(lines: Lines) -> None:
    structlog.get_logger("sealwax.worker").warning("late", job="1", seconds=2.5)
    logging.getLogger("other").error("plain %s", "words")
    first, second = lines()
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "event": "late", "job": "1", "seconds": 2.5, "level": "warning",
        "logger": "sealwax.worker", "role": "worker",
    }  # fmt: skip
    assert (second["event"], second["level"], second["logger"]) == ("plain words", "error", "other")


def test_bound_values_stand_in_every_line(lines: Lines) -> None:
    structlog.contextvars.bind_contextvars(trace="t1")
    structlog.get_logger().info("one")
    logging.getLogger("other").info("two")
    assert [line["trace"] for line in lines()] == ["t1", "t1"]


def test_lines_below_the_level_are_not_written(lines: Lines) -> None:
    structlog.get_logger().debug("no")
    logging.getLogger("other").debug("no")
    for name in ("botocore", "boto3", "urllib3", "s3transfer", "kombu", "requests"):
        logging.getLogger(name).info("no")
    assert lines() == []


def test_libraries_that_write_bodies_stay_quiet_at_debug(lines: Lines) -> None:
    lines.configure("DEBUG")
    logging.getLogger("botocore.endpoint").debug("body %s", CANARY)
    logging.getLogger("urllib3.connectionpool").debug("body %s", CANARY)
    logging.getLogger("mine").debug("yes")
    assert [line["event"] for line in lines()] == ["yes"]


def test_configuring_twice_writes_lines_once(lines: Lines) -> None:
    lines.configure("INFO")
    logging.getLogger("other").info("once")
    assert len(lines()) == 1


def test_values_that_are_not_json_show_their_type_only(lines: Lines) -> None:
    class Payload:
        def __repr__(self) -> str:
            return CANARY

    structlog.get_logger().info("x", payload=Payload(), many={Payload()}, raw=CANARY.encode())
    (line,) = lines()
    assert (line["payload"], line["many"], line["raw"]) == ("Payload", "set", "bytes")


def test_lines_go_to_stdout(capsys: pytest.CaptureFixture[str], lines: Lines) -> None:
    configure_logging("api")
    logging.getLogger("other").error("x")
    assert json.loads(capsys.readouterr().out)["role"] == "api"


# -- exceptions ------------------------------------------------------------------------


def test_an_exception_keeps_class_place_and_causes() -> None:
    try:
        try:
            _raise(2)
        except ValueError as error:
            raise KeyError(CANARY) from error
    except KeyError as error:
        found = describe_exception(error)
    assert found["class"] == "builtins.KeyError"
    (cause,) = found["caused_by"]
    assert cause["class"] == "builtins.ValueError"
    assert [place.rsplit(":", 1)[1] for place in cause["at"]][-3:] == ["_raise"] * 3
    assert all(place.count("/") <= 2 for place in cause["at"])
    assert CANARY not in repr(found)


def test_notes_groups_and_attributes_of_exceptions_are_left_out() -> None:
    error = ExceptionGroup(CANARY, [ValueError(CANARY)])
    error.add_note(CANARY)
    error.detail = CANARY  # type: ignore[attr-defined]
    assert CANARY not in repr(describe_exception(error))


def test_a_suppressed_context_is_left_out() -> None:
    try:
        try:
            _raise()
        except ValueError:
            raise KeyError from None
    except KeyError as error:
        found = describe_exception(error)
    assert "caused_by" not in found


def test_long_and_circular_chains_end() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert len(describe_exception(first)["caused_by"]) == 1
    last: BaseException = ValueError()
    for _ in range(50):
        following = ValueError()
        following.__cause__ = last
        last = following
    assert len(describe_exception(last)["caused_by"]) == 4


def test_deep_recursion_keeps_the_innermost_places() -> None:
    try:
        _raise(60)
    except ValueError as error:
        found = describe_exception(error)
    assert len(found["at"]) == 12


@pytest.mark.parametrize(
    "write",
    [
        lambda log, error: log.error("failed", exc_info=error),
        lambda log, error: log.error("failed", exc_info=(type(error), error, error.__traceback__)),
        lambda log, error: log.exception("failed", exc_info=error),  # noqa: LOG004 - with one given
    ],
)
@pytest.mark.parametrize("make", [logging.getLogger, structlog.get_logger])
def test_exc_info_becomes_class_and_places(
    lines: Lines, make: Callable[[str], Any], write: Callable[[Any, Exception], None]
) -> None:
    write(make("any"), _caught())
    (line,) = lines()
    assert line["event"] == "failed"
    assert line["exception"]["class"] == "builtins.ValueError"
    assert line["exception"]["at"]


@pytest.mark.parametrize("make", [logging.getLogger, structlog.get_logger])
def test_the_exception_being_handled_is_found(lines: Lines, make: Callable[[str], Any]) -> None:
    try:
        _raise()
    except ValueError:
        make("any").exception("failed")
        make("any").error("failed", exc_info=True, stack_info=True)
    assert [line["exception"]["class"] for line in lines()] == ["builtins.ValueError"] * 2


@pytest.mark.parametrize(
    ("message", "arguments", "written"),
    [
        ("failed: %s", (_caught(),), "failed: ValueError"),
        ("failed: %r", (_caught(),), "failed: 'ValueError'"),
        ("Signal %r raised: %r", ("h", _caught()), "Signal 'h' raised: 'ValueError'"),
        ("failed: %(exc)s", ({"exc": _caught()},), "failed: ValueError"),
        ("%s", (Info(),), "ExceptionInfo"),
        (_caught(), (), "ValueError"),
        ("no arguments, 100%", (), "no arguments, 100%"),
    ],
)  # fmt: skip
def test_exceptions_among_the_arguments_become_class_names(
    lines: Lines, message: Any, arguments: tuple[Any, ...], written: str
) -> None:
    logging.getLogger("some.library").warning(message, *arguments)
    assert [line["event"] for line in lines()] == [written]


def test_other_handlers_see_the_record_as_it_was(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("x").addHandler(caplog.handler)
    try:
        logging.getLogger("x").error("failed: %s", _caught(), exc_info=_caught())
    finally:
        logging.getLogger("x").removeHandler(caplog.handler)
    assert CANARY in caplog.text
    assert lines()[0]["event"] == "failed: ValueError"


def test_flask_s_record_of_a_failed_request_holds_no_text(lines: Lines) -> None:
    error = _caught()
    logging.getLogger("sealwax.web.app").error(
        f"Exception on {'/v1/jobs'} [{'POST'}]",  # noqa: G004 - as Flask writes it
        exc_info=(type(error), error, error.__traceback__),
    )
    (line,) = lines()
    assert line["event"] == "Exception on /v1/jobs [POST]"
    assert line["exception"]["class"] == "builtins.ValueError"


@pytest.mark.parametrize(
    "name", ["celery.app.trace", "celery.pool", "celery.worker.request", "celery.worker.strategy"]
)
def test_celery_s_record_of_a_failed_task_keeps_id_and_name(lines: Lines, name: str) -> None:
    error = _caught()
    context = {
        "hostname": "w1", "id": "1" * 32, "name": "demo.greet", "exc": f"ValueError({CANARY!r})",
        "traceback": f"Traceback {CANARY}", "args": f"[{CANARY!r}]", "kwargs": "{}",
        "description": "raised unexpected", "internal": False, "runtime": 0.5,
    }  # fmt: skip
    logging.getLogger(name).error(
        "Task %(name)s[%(id)s] %(description)s: %(exc)s",
        context,
        exc_info=(type(error), error, error.__traceback__),
        extra={"data": context},
    )
    (line,) = lines()
    assert (line["id"], line["name"]) == ("1" * 32, "demo.greet")
    assert line["event"].startswith("task")
    assert line["exception"]["class"] == "builtins.ValueError"


@pytest.mark.parametrize(
    ("name", "message", "arguments"),
    [
        ("celery.worker.request", "Task handler raised error: %r", (_caught(),)),
        ("celery.worker.request", "Task %s[%s] succeeded before the worker was lost: %r",
         ("demo.greet", "1", CANARY)),
        ("celery.worker.consumer.consumer",
         "Received unregistered task of type %s.\nThe full contents of the message body was:\n%s\n",
         ("demo.x", CANARY)),
        ("celery.worker.consumer.consumer", "Received invalid task message: %s\n\n%s\n",
         (_caught(), CANARY)),
        ("celery.worker.strategy", "Couldn't convert ETA %r to timestamp: %r. Task: %r",
         ("now", _caught(), CANARY)),
        ("celery.app.trace", "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s",
         ({"name": "demo.greet", "id": "1", "runtime": 0.1, "return_value": CANARY},)),
    ],
)  # fmt: skip
def test_celery_s_records_with_bodies_and_results_keep_the_template_only(
    lines: Lines, name: str, message: str, arguments: tuple[Any, ...]
) -> None:
    logging.getLogger(name).error(message, *arguments)
    (line,) = lines()
    assert line["event"]
    assert line["level"] == "error"


def test_celery_s_line_for_each_job_is_left_out_but_not_its_failures(lines: Lines) -> None:
    """The attempt's own line says the same, and more."""
    tracer = logging.getLogger("celery.app.trace")
    assert not tracer.isEnabledFor(logging.INFO)  # Celery asks before it makes the record
    tracer.info("Task %(name)s[%(id)s] succeeded", {"name": "demo.greet", "id": "1"})
    assert lines() == []

    tracer.error("Task %(name)s[%(id)s] raised", {"name": "demo.greet", "id": "1"})
    assert len(lines()) == 1


def test_a_record_that_cannot_be_formatted_is_told_without_its_arguments(lines: Lines) -> None:
    _without_pytest_s_handlers()
    logging.getLogger("some.library").error("%d apples", CANARY)
    logging.getLogger("some.library").error("too many", CANARY)  # noqa: PLE1205 - the fault
    for line in lines():
        assert line["event"] == "log record could not be written"
        assert line["logger"] == "some.library"
        assert "test_logs.py" in line["at"]
        assert line["error"] == "TypeError"


def test_a_closed_stream_breaks_nobody(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        flush = write

    (handler,) = _without_pytest_s_handlers()
    monkeypatch.setattr(handler, "stream", Closed())
    logging.getLogger("any").error("unheard")
    assert lines() == []


PROGRAM = f"""
import gc, threading
from sealwax.telemetry.logs import configure_logging
configure_logging("worker")
def fail(): raise ValueError("text {CANARY}")
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Careless:
    def __del__(self): fail()
Careless(); gc.collect()
def leave(): raise SystemExit("{CANARY}")
thread = threading.Thread(target=leave); thread.start(); thread.join()
fail()
"""


def test_what_nobody_handles_is_logged_like_everything_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert CANARY not in done.stdout
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in found] == ["unhandled"] * 3
    assert {line["exception"]["class"] for line in found} == {"builtins.ValueError"}
    assert {line["level"] for line in found} == {"critical"}


def test_what_libraries_say_within_a_task_is_withheld_but_its_place(lines: Lines) -> None:
    library = logging.getLogger("some.library")
    with structlog.contextvars.bound_contextvars(job="j"), within_task():
        library.warning("sent %s", CANARY, extra={"job": CANARY, "code": CANARY})
        library.error(f"sent {CANARY}", exc_info=ValueError(CANARY))
        structlog.get_logger("some.other").info(CANARY, body=CANARY)
    first, second, third = lines()
    assert (first["event"], first["logger"], first["level"], first["job"]) == (
        "message withheld", "some.library", "warning", "j",
    )  # fmt: skip
    assert first["at"].startswith("unit/telemetry/test_logs.py:")
    assert "code" not in first
    assert second["exception"]["class"] == "builtins.ValueError"
    assert (third["event"], "body" in third) == ("message withheld", False)


def test_what_a_task_and_the_worker_say_is_kept(lines: Lines) -> None:
    with within_task():
        structlog.get_logger("sealwax.task_definition").info("half done", rows=5)
        logging.getLogger("sealwax.transport").info("released")
    logging.getLogger("some.library").warning("between tasks")
    assert [line["event"] for line in lines()] == ["half done", "released", "between tasks"]


def test_a_warning_is_logged_without_its_text(lines: Lines) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = configured_showwarning()
        warnings.warn(CANARY, stacklevel=1)
    (line,) = lines()
    assert (line["event"], line["category"]) == ("warning", "UserWarning")
    assert line["at"].startswith("unit/telemetry/test_logs.py:")


def configured_showwarning() -> Callable[..., None]:
    """Return what `configure_logging` put in place; pytest puts its own there."""
    from sealwax.telemetry.logs import _log_warning

    return _log_warning


def test_a_place_in_the_code_is_the_packages_own_and_survives_a_deploy() -> None:
    def raising() -> None:
        json.loads("{")

    try:
        raising()
    except ValueError as error:
        here, elsewhere = code_place(error, __name__), code_place(error, "nowhere")
    assert here == f"{__name__}:raising"
    assert elsewhere is not None
    assert elsewhere.startswith("json.decoder:")
    assert code_place(ValueError("never raised"), "x") is None
