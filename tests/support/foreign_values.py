"""What apps and libraries put into task messages: values that stock Celery runs.

`FOREIGN` has, by a name, the headers, the properties and the third member of the
body of one message each; `SHADOWING` has names of headers that would break
Celery's request context.
"""

from __future__ import annotations

from typing import Any

__all__ = ["FOREIGN", "SHADOWING"]

_HALF = "half a pair: \ud83d"

_ANY: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, "", "x", _HALF, "é" * 2_000, [], [1, [2]], {},
    {"a": {"b": [1]}},
]  # fmt: skip

_HEADERS: dict[str, list[Any]] = {
    # Libraries' own.
    "_schema_name": _ANY, "_x": _ANY, "__METADATA__": _ANY, "__trace_id": _ANY, "_": _ANY,
    "sentry-trace": _ANY, "x y": _ANY, "": _ANY, "é": _ANY, _HALF: _ANY,
    # Shown, or handed on.
    "argsrepr": [*_ANY, "a" * 300_000], "kwargsrepr": _ANY, "lang": _ANY, "origin": _ANY,
    "meth": _ANY, "root_id": _ANY, "parent_id": _ANY, "group": _ANY, "groups": _ANY,
    "group_index": _ANY, "replaced_task_nesting": _ANY, "ignore_result": _ANY, "utc": _ANY,
    "shadow": ["", "x", _HALF, 5, True, 1.5, [], {}],
    # Stamps.
    "stamps": [*_ANY, {"a": {}}, {"a": {"b": 1}}, {"a": [{"b": [1]}]}, {"a": None}, {"a": 10**30}],
    "stamped_headers": [None, [], ["a"], ["a", 1], [None], "abc", "", {"a": 1}, {}, 0, False],
    # Numbers and times.
    "id": ["é", 5, -1, 1.5], "retries": [-1, 1.5, -(2**31) + 1],
    "timelimit": [None, [], "", 0, False, {}, [None, None], [0, 0], [600.5, None]],
    "compression": [None, "", 0, [], {}],
    "eta": [
        "1970-01-01T00:00:00", "1970-01-01T00:00:00+00:00", "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "1901-01-01", "20200101T000000",
    ],
    "expires": [
        "9999-12-31T23:59:59", "9999-12-31T23:59:59.999999-12:00", "9991-01-01T00:00:00+00:00",
        "2999-01-01T00:00:00",
    ],
}  # fmt: skip

_PROPERTIES: dict[str, list[Any]] = {
    "priority": [*_ANY, -5, 255, 256, 10**9, "high", "5"],
    "correlation_id": _ANY, "reply_to": _ANY, "expiration": _ANY, "message_id": _ANY,
    "timestamp": _ANY, "app_id": _ANY, "user_id": _ANY, "type": _ANY, "x": _ANY,
}  # fmt: skip

_EMBED: dict[str, list[Any]] = {
    "callbacks": [None, [], {}, "", 0], "errbacks": [None, [], {}], "chain": [None, [], ""],
    "chord": [None, {}, [], ""], "_x": [1, {"a": 1}], "library": [{"a": [1]}],
}  # fmt: skip

#: (headers, properties, the body's third member) by name.
FOREIGN: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    **{
        f"header {name!r:.30} {number}": ({name: value}, {}, {})
        for name, values in _HEADERS.items()
        for number, value in enumerate(values)
    },
    **{
        f"property {name} {number}": ({}, {name: value}, {})
        for name, values in _PROPERTIES.items()
        for number, value in enumerate(values)
    },
    **{
        f"body {name} {number}": ({}, {}, {name: value})
        for name, values in _EMBED.items()
        for number, value in enumerate(values)
    },
    "stamps looked up": ({"stamped_headers": ["a"], "stamps": {"a": {"b": [1]}}}, {}, {}),
    "stamps of nothing": ({"stamped_headers": ["a"], "stamps": {}}, {}, {}),
}

SHADOWING = (
    "__class__", "__dict__", "__init__", "_children", "_protected", "_get_custom_headers", "get",
    "update", "clear", "args", "kwargs", "called_directly", "is_eager", "delivery_info",
    "properties", "as_execution_options",
)  # fmt: skip
