"""sentry-sdk: errors, transactions and traces of tasks; envelopes are noted, not sent."""

from __future__ import annotations

from typing import Any

import sentry_sdk
from addon_app import add_tasks, make_app, note, plain_cases  # type: ignore[import-not-found]
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

#: What differs from run to run.
VOLATILE = {"thread.id", "thread.name", "messaging.message.receive.latency"}


def span_of(span: dict[str, Any]) -> dict[str, Any]:
    data = span.get("data") or {}
    return {
        "op": span.get("op"),
        "name": span.get("description"),
        "origin": span.get("origin"),
        "status": span.get("status"),
        "trace": span.get("trace_id"),
        "data": {key: data[key] for key in sorted(data) if key not in VOLATILE},
        "keys": sorted(data),
    }


class Noting(Transport):
    """Notes what would be sent."""

    def capture_envelope(self, envelope: Any) -> None:
        for item in envelope.items:
            event = item.get_event() or item.get_transaction_event()
            if event is None:
                if item.type not in {"client_report", "session", "sessions"}:
                    note("item", kind=item.type)
                continue
            extra = event.get("extra", {})
            errors = (event.get("exception") or {}).get("values", [])
            run = (event.get("tags") or {}).get("celery_task_id")
            for span in event.get("spans", []):
                said = span_of(span)
                sending = said["op"] in {"queue.submit.celery", "queue.publish"}
                job = said["data"].get("messaging.message.id", said["name"])
                note("published" if sending else "span", run=run, id=job, **said)
            note(
                "sent",
                run=run,
                kind=event.get("type", "error"),
                transaction=event.get("transaction"),
                source=(event.get("transaction_info") or {}).get("source"),
                errors=[[one["type"], one["value"], one.get("mechanism")] for one in errors],
                tags=event.get("tags"),
                job=extra.get("celery-job"),
                level=event.get("level"),
                logger=event.get("logger"),
                trace=span_of(event.get("contexts", {}).get("trace", {})),
                fingerprint=event.get("fingerprint"),
            )

    def flush(self, timeout: float, callback: Any = None) -> None:
        pass


sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    transport=Noting,
    traces_sample_rate=1.0,
    release="1",
    environment="test",
    server_name="test",
    integrations=[CeleryIntegration(propagate_traces=True, monitor_beat_tasks=True)],
)
app = make_app()


def observe() -> Any:
    scope = sentry_sdk.get_isolation_scope()
    tags = dict(scope._tags)
    sentry_sdk.set_tag("seen", "yes")
    span, baggage = sentry_sdk.get_current_span(), sentry_sdk.get_baggage()
    return {
        "tags": tags,
        "trace": span and span.trace_id,
        "baggage": bool(baggage),
    }


tasks = add_tasks(app, observe=observe)


@app.task(name="expected", throws=(KeyError,))
def expected() -> None:
    raise KeyError("expected")


@app.task(name="talks")
def talks() -> None:
    sentry_sdk.capture_message("said")
    with sentry_sdk.start_span(op="mine", name="part"):
        tasks["add"].apply_async((1,), task_id="inner")


def traced(name: str, run: Any) -> Any:
    with sentry_sdk.start_transaction(op="case", name=name):
        return run()


CASES = {
    name: (lambda name=name, run=run: traced(name, run))
    for name, run in {
        **plain_cases(tasks),
        "expected": lambda: expected.apply_async(task_id="expected"),
        "talks": lambda: talks.apply_async(task_id="talks"),
    }.items()
}
CASES["inner"] = lambda: app.AsyncResult("inner")
CASES["untraced"] = lambda: tasks["add"].apply_async((9,), task_id="untraced")
