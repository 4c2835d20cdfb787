"""The programs of the drop-in proof: each sends a few tasks in one way that Celery documents.

A program is called with the app's module and its own name.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from celery import chain, chord, group, signature
from celery.result import AsyncResult

__all__ = ["PROGRAMS", "QUICK_POOLS_LACK"]

Program = Callable[[Any, str], Any]
PROGRAMS: dict[str, Program] = {}

RECORDED = Path(__file__).parents[1] / "data/transport/addon-headers.json"


def program(name: str, run: Program) -> None:
    assert name not in PROGRAMS, name
    PROGRAMS[name] = run


def soon(**delta: float) -> datetime:
    return datetime.now(UTC) + timedelta(**delta)


# -- every option of apply_async

OPTIONS: dict[str, Callable[[], dict[str, Any]]] = {
    "nothing": dict,
    "countdown": lambda: {"countdown": 1},
    "countdown-0": lambda: {"countdown": 0},
    "countdown-below": lambda: {"countdown": -5},
    "eta": lambda: {"eta": soon(seconds=1)},
    "eta-past": lambda: {"eta": soon(seconds=-5)},
    "eta-epoch": lambda: {"eta": datetime(1970, 1, 1, tzinfo=UTC)},
    "expires-seconds": lambda: {"expires": 600},
    "expires-datetime": lambda: {"expires": soon(hours=1)},
    "expired": lambda: {"expires": soon(seconds=-5)},
    "task_id": lambda: {"task_id": f"named-{uuid.uuid4()}"},
    "retry-off": lambda: {"retry": False},
    "retry_policy": lambda: {"retry": True, "retry_policy": {"max_retries": 1}},
    "priority-0": lambda: {"priority": 0},
    "priority-9": lambda: {"priority": 9},
    "priority-below": lambda: {"priority": -1},
    "priority-above": lambda: {"priority": 300},
    "countdown-half": lambda: {"countdown": 0.5},
    "countdown-none": lambda: {"countdown": None, "eta": None, "expires": None},
    "shadow-half": lambda: {"shadow": "\ud83d"},
    "kwargsrepr-half": lambda: {"kwargsrepr": "\udc00"},
    "root_id-number": lambda: {"root_id": 5, "parent_id": 6},
    "group_id-number": lambda: {"group_id": 7},
    "time_limit-float": lambda: {"time_limit": 300.5, "soft_time_limit": 200.5},
    "link-empty": lambda: {"link": [], "link_error": []},
    "headers-deep": lambda: {"headers": {"a": {"b": [{"c": None}, 1.5, "é", "\ud83d"]}}},
    "headers-stock": lambda: {"headers": {"lang": "other", "origin": "me", "group": "g"}},
    "headers-empty": lambda: {"headers": {}},
    "ignore_result-off": lambda: {"ignore_result": False},
    "expires-none": lambda: {"expires": None},
    "expires-text": lambda: {"expires": soon(hours=1).isoformat()},
    "expired-epoch": lambda: {"expires": datetime(1970, 1, 1, tzinfo=UTC)},
    "serializer": lambda: {"serializer": "json"},
    "gzip": lambda: {"compression": "gzip"},
    "zlib": lambda: {"compression": "zlib"},
    "headers": lambda: {"headers": {"x-mine": "1", "_under": {"a": [1]}, "__both__": None}},
    "shadow": lambda: {"shadow": "other.name"},
    "ignore_result": lambda: {"ignore_result": True},
    "time_limit": lambda: {"time_limit": 300},
    "soft_time_limit": lambda: {"soft_time_limit": 200, "time_limit": 300},
    "argsrepr": lambda: {"argsrepr": "(<hidden>,)", "kwargsrepr": "{<hidden>}"},
    "argsrepr-half": lambda: {"argsrepr": "\ud83d"},
    "root_id": lambda: {"root_id": "root", "parent_id": "parent"},
    "group_id": lambda: {"group_id": "group", "group_index": 3},
    "retries": lambda: {"retries": 2},
    "reply_to": lambda: {"reply_to": "somewhere"},
    "delivery_mode": lambda: {"delivery_mode": 1},
    "mandatory": lambda: {"mandatory": True, "immediate": False},
    "declare": lambda: {"declare": []},
    "expiration": lambda: {"expiration": 600},
    "timeout": lambda: {"timeout": 30, "confirm_timeout": 30},
    "replaced_task_nesting": lambda: {"replaced_task_nesting": 2},
    "task_type": lambda: {"task_type": None, "route_name": "elsewhere"},
    "result_cls": lambda: {"result_cls": AsyncResult},
    "bzip2": lambda: {"compression": "bzip2"},
    "lzma": lambda: {"compression": "lzma"},
    "add_to_parent": lambda: {"add_to_parent": False},
    "stamps": lambda: {"stamped_headers": ["s"], "s": "one", "stamps": {"s": ["one"]}},
    "stamps-mapping": lambda: {"stamped_headers": ["s"], "s": {"a": 1}, "stamps": {"s": {"a": 1}}},
}


def _tell(app: Any, name: str, *, options: Callable[[], dict[str, Any]]) -> None:
    app.tell.apply_async((1, 2), {"program": name}, **options())


for _name, _options in OPTIONS.items():
    program(f"option {_name}", partial(_tell, options=_options))

LINKS: dict[str, Program] = {
    "link": lambda app, name: app.tell.apply_async(
        (1,), {"program": name}, link=app.tell.s(5, program=name)
    ),
    "links": lambda app, name: app.tell.apply_async(
        (1,), {"program": name}, link=[app.tell.si(n, program=name) for n in (5, 6)]
    ),
    "link_error": lambda app, name: app.fail.apply_async(
        (), {"program": name}, link_error=app.noted.s(program=name)
    ),
    "chain option": lambda app, name: app.tell.apply_async(
        (1,), {"program": name}, chain=[app.tell.s(4, program=name)]
    ),
    "queue": lambda app, name: app.tell.apply_async(
        (1,), {"program": name}, queue=app.app.conf.task_default_queue
    ),
    "routing_key": lambda app, name: app.tell.apply_async(
        (1,), {"program": name}, routing_key=app.app.conf.task_default_queue, exchange=""
    ),
    "delay": lambda app, name: app.tell.delay(1, program=name),
    "send_task": lambda app, name: app.app.send_task("tell", (1,), {"program": name}),
    "by name": lambda app, name: signature("tell", (1,), {"program": name}).delay(),
    "partial": lambda app, name: app.tell.s(1).clone(kwargs={"program": name}).delay(4),
    "set": lambda app, name: app.tell.s(1, program=name).set(countdown=1, priority=2).delay(),
}


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def _deep(app: Any, name: str, *, option: str, levels: int) -> None:
    found = app.one.si(name)
    for number in range(levels):
        task = app.pair if number % 10 == 0 else app.one
        more = (name, number) if task is app.pair else (name,)
        found = task.si(*more).set(**{option: [found]})
    found.delay()


DEEP: dict[str, Program] = {
    "33 links": partial(_deep, option="link", levels=33),
    "200 links": partial(_deep, option="link", levels=200),
    "200 link_errors": partial(_deep, option="link_error", levels=200),
    "arguments": lambda app, name: app.one.delay(name, _nested(850)),
    "headers": lambda app, name: app.one.apply_async((name,), headers={"x": _nested(400)}),
    "long chain": lambda app, name: chain(app.one.si(name) for _ in range(300)).delay(),
    "hostile arguments": lambda app, name: app.one.delay(name, _nested(100_000)),
}


def _by_connection(app: Any, name: str) -> None:
    with app.app.connection_for_write() as connection:
        app.tell.apply_async((1,), {"program": name}, connection=connection)


def _by_producer(app: Any, name: str) -> None:
    with app.app.producer_pool.acquire(block=True) as producer:
        app.tell.apply_async((1,), {"program": name}, producer=producer)


for _name, _run in DEEP.items():
    program(f"deep {_name}", _run)
for _name, _run in (LINKS | {"connection": _by_connection, "producer": _by_producer}).items():
    program(f"send {_name}", _run)

# -- what stock's serializers take along

MOMENT = datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)

VALUES: dict[str, Any] = {
    "nan": [float("nan"), {"a": float("inf")}, -float("inf")],
    "bytes": [b"text", b"\xff\x00"],
    "times": [MOMENT, MOMENT.date(), MOMENT.time(), MOMENT.replace(tzinfo=None)],
    "numbers": [Decimal("1.10"), Decimal("NaN"), 10**300, -0.0, 1e-320, uuid.UUID(int=7)],
    "tuples": (1, (2, (3,)), {1: None, None: 1}),
    "set": {1, 2},
    "object": object,
}


def _show(app: Any, name: str, *, value: Any) -> None:
    app.shown.apply_async((value,), {"program": name, "named": value})


for _name, _value in VALUES.items():
    program(f"values {_name}", partial(_show, value=_value))
program(
    "values in headers",
    lambda app, name: app.shown.apply_async(
        (), {"program": name}, headers={"x-rate": float("nan"), "x": [float("inf")]}
    ),
)

# -- every documented way of retrying, and of ending


def _again(app: Any, name: str, *, way: str) -> None:
    app.again.delay(1, program=name, way=way)


def _end(app: Any, name: str, *, way: str) -> None:
    app.ends.delay(way, program=name)


for _way in ("countdown", "countdown-1", "exc", "default", "max-1", "max-1-exc", "args", "kwargs",
             "shadow", "headers", "priority", "throw"):  # fmt: skip
    program(f"retry {_way}", partial(_again, way=_way))
program(
    "retry used up",
    lambda app, name: app.again.delay(1, program=name, way="countdown", times=9),
)
program("retry auto", lambda app, name: app.auto.delay(program=name))
program("retry backoff", lambda app, name: app.auto_backoff.delay("value", program=name))
program("retry not for", lambda app, name: app.auto_backoff.delay("key", program=name))
for _way in ("return", "ignore", "reject", "requeue", "update", "expected"):
    program(f"end {_way}", partial(_end, way=_way))
program("end failure", lambda app, name: app.fail.delay(program=name))
program("end wrong arguments", lambda app, name: app.app.send_task("ends", (), {"program": name}))
program("end soft", lambda app, name: app.soft.delay(program=name, catch=False))
program("end soft caught", lambda app, name: app.soft.delay(program=name, catch=True))
program(
    "end hard", lambda app, name: app.lost.apply_async(("hard",), {"program": name}, time_limit=1)
)
program("end killed", lambda app, name: app.lost.delay("killed", program=name))
#: They need processes of their own.
QUICK_POOLS_LACK = frozenset({"end soft", "end soft caught", "end hard", "end killed"})

# -- canvas

CANVAS: dict[str, Program] = {
    "chain": lambda app, name: chain(
        app.tell.s(1, program=name), app.tell.s(2, program=name), app.tell.si(3, program=name)
    ).delay(),
    "chain by pipe": lambda app, name: (
        app.tell.s(1, program=name) | app.tell.s(2, program=name)
    ).apply_async(countdown=1),
    "chain that fails": lambda app, name: chain(
        app.fail.si(program=name), app.tell.si(1, program=name)
    ).apply_async(link_error=app.noted.s(program=name)),
    "on_error": lambda app, name: (
        app.fail.si(program=name).on_error(app.noted.s(program=name)).delay()
    ),
    "group": lambda app, name: group(app.tell.s(n, program=name) for n in range(4)).delay(),
    "group of none": lambda app, name: group([]).delay(),
    "group in chain": lambda app, name: chain(
        app.tell.s(1, program=name), group(app.tell.s(n, program=name) for n in (2, 3))
    ).delay(),
    "chord": lambda app, name: chord(
        [app.tell.s(n, program=name) for n in (1, 2, 3)], app.total.s(program=name)
    ).delay(),
    "chord by chain": lambda app, name: chain(
        group(app.tell.s(n, program=name) for n in (1, 2)), app.total.s(program=name)
    ).delay(),
    "chord that fails": lambda app, name: chord(
        [app.tell.s(1, program=name), app.fail.s(program=name)],
        app.total.s(program=name).on_error(app.noted.s(program=name)),
    ).delay(),
    "chord of chains": lambda app, name: chord(
        [chain(app.tell.s(n, program=name), app.tell.s(1, program=name)) for n in (1, 2)],
        app.total.s(program=name),
    ).delay(),
    "replace": lambda app, name: app.replacing.delay("task", program=name),
    "replace by chain": lambda app, name: app.replacing.delay("chain", program=name),
    "map": lambda app, name: app.one.map([name, name]).delay(),
    "starmap": lambda app, name: app.pair.starmap([(name, 1), (name, 2)]).delay(),
    "chunks": lambda app, name: app.pair.chunks([(name, n) for n in range(4)], 2).apply_async(),
    "chunks in a group": lambda app, name: app.pair.chunks([(name, 1)] * 3, 1).group().delay(),
    "immutable": lambda app, name: app.tell.signature(
        (1,), {"program": name}, immutable=True
    ).delay(9),
}


def _stamped(app: Any, name: str) -> None:
    stamped = app.tell.s(1, program=name)
    stamped.stamp(who="me", what={"a": 1})
    stamped.delay()


for _name, _run in (CANVAS | {"stamp": _stamped}).items():
    program(f"canvas {_name}", _run)


# -- tasks' attributes and classes

program("task hooks", lambda app, name: app.hooked.delay(1, program=name))
program("task call", lambda app, name: app.calling.delay(program=name))
program("task request", lambda app, name: app.asking.delay(program=name))
program("task attributes", lambda app, name: app.attributes.delay(1, program=name))
program("task names", lambda app, name: app.naming.delay(1, program=name))
program("task methods", lambda app, name: app.methods.delay(program=name))
program("task class", lambda app, name: app.app.tasks["classy"].delay(1, program=name))

# -- headers that libraries were seen to send


def _as_library(app: Any, name: str, *, headers: dict[str, Any]) -> None:
    app.tell.apply_async((1,), {"program": name}, headers=headers)


for _library, _seen in json.loads(RECORDED.read_text()).items():
    program(f"library {_library}", partial(_as_library, headers=_seen["headers"]))
