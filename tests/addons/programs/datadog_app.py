"""ddtrace: spans of sending and running, of one trace; they are noted, not sent."""

from __future__ import annotations

import os
from typing import Any

# No agent: nothing is sent anywhere.
os.environ.update(
    DD_TRACE_AGENT_URL="http://127.0.0.1:9",
    DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
    DD_REMOTE_CONFIGURATION_ENABLED="false",
    DD_CELERY_DISTRIBUTED_TRACING="true",
    DD_TRACE_STARTUP_LOGS="false",
)

from ddtrace import patch
from ddtrace.trace import TraceFilter, tracer

patch(celery=True)

from addon_app import add_tasks, make_app, note, plain_cases  # type: ignore[import-not-found]

#: What differs from run to run.
VOLATILE = {
    "runtime-id", "celery.hostname", "celery.eta", "error.stack", "_dd.p.tid", "process_id",
    "_dd.tags.process",
}  # fmt: skip


class Noting(TraceFilter):
    """Notes what would be sent."""

    def process_trace(self, trace: Any) -> None:
        for span in trace:
            tags = {str(key): value for key, value in span.get_tags().items()}
            job = tags.get("celery.id")
            consumed = span.name == "celery.run"
            note(
                "published" if span.name == "celery.apply" else "span",
                **({"run": job} if consumed else {}),
                id=job,
                name=span.name,
                resource=span.resource,
                service=span.service,
                kind=span.span_type,
                error=span.error,
                trace=format(span.trace_id, "032x"),
                span=format(span.span_id, "016x"),
                parent=format(span.parent_id or 0, "016x"),
                tags={key: "there" if key in VOLATILE else tags[key] for key in sorted(tags)},
            )


tracer.configure(trace_processors=[Noting()])
app = make_app()


def observe() -> Any:
    span = tracer.current_span()
    return span and format(span.trace_id, "032x")


tasks = add_tasks(app, observe=observe)


@app.task(name="sends")
def sends() -> None:
    with tracer.trace("mine"):
        tasks["add"].apply_async((1,), task_id="inner")


@app.task(name="expected", throws=(KeyError,))
def expected() -> None:
    raise KeyError("expected")


def traced(name: str, run: Any) -> Any:
    with tracer.trace("sender", resource=name):
        return run()


CASES = {
    name: (lambda name=name, run=run: traced(name, run))
    for name, run in {
        **plain_cases(tasks),
        "expected": lambda: expected.apply_async(task_id="expected"),
        "sends": lambda: sends.apply_async(task_id="sends"),
    }.items()
}
CASES["inner"] = lambda: app.AsyncResult("inner")
CASES["untraced"] = lambda: tasks["add"].apply_async((9,), task_id="untraced")
