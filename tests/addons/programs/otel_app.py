"""OpenTelemetry's instrumentation of Celery: spans of sending and running; they are noted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from addon_app import add_tasks, make_app, note, plain_cases  # type: ignore[import-not-found]
from celery.signals import worker_process_init
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

#: What differs from run to run.
VOLATILE = {"celery.hostname", "celery.delivery_info", "celery.origin", "celery.eta"}


def hexed(number: int, digits: int) -> str:
    return format(number, f"0{digits}x")


class Noting(SpanExporter):
    """Notes what would be sent."""

    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        for span in spans:
            context = span.get_span_context()
            attributes = dict(span.attributes or {})
            assert context is not None
            job = attributes.get("messaging.message.id")
            consumed = span.kind is trace.SpanKind.CONSUMER
            note(
                "published" if span.kind is trace.SpanKind.PRODUCER else "span",
                **({"run": job} if consumed else {}),
                id=job,
                name=span.name,
                kind=span.kind.name,
                trace=hexed(context.trace_id, 32),
                span=hexed(context.span_id, 16),
                parent=span.parent and hexed(span.parent.span_id, 16),
                status=[span.status.status_code.name, span.status.description],
                attributes={
                    name: "there" if name in VOLATILE else attributes[name]
                    for name in sorted(attributes)
                },
                events=[
                    [event.name, (event.attributes or {}).get("exception.type")]
                    for event in span.events
                ],
            )
        return SpanExportResult.SUCCESS


def instrument() -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Noting()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


@worker_process_init.connect(weak=False)
def in_each_process(**_: Any) -> None:
    """Instrument a worker's process, as the library's documentation has it."""
    instrument()


app = make_app()


def observe() -> Any:
    context = trace.get_current_span().get_span_context()
    return hexed(context.trace_id, 32)


tasks = add_tasks(app, observe=observe)


@app.task(name="sends")
def sends() -> None:
    with trace.get_tracer("mine").start_as_current_span("mine"):
        tasks["add"].apply_async((1,), task_id="inner")


@app.task(name="expected", throws=(KeyError,))
def expected() -> None:
    raise KeyError("expected")


def traced(name: str, run: Any) -> Any:
    with trace.get_tracer("sender").start_as_current_span(name):
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


def begin() -> None:
    instrument()
