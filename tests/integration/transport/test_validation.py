"""Whatever stands in a queue: the worker lives, neighbours run once, bad bodies are letters."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from support.foreign_values import FOREIGN, SHADOWING
from support.sqs_lab import Lab, message
from support.waiting import wait_for

CASES = Path(__file__).parents[2] / "data/transport/malformed.json"

#: Decided by the task's own signature and by its expiry, not by the transport.
NOT_OURS = {"wrongargs", "expired"}


def bodies(queue: str) -> dict[str, str]:
    found = {}
    for name, body in json.loads(CASES.read_text()).items():
        if name in NOT_OURS:
            continue
        try:
            text = base64.b64decode(body, validate=True).decode()
        except ValueError:
            found[name] = body
        else:
            found[name] = base64.b64encode(text.replace("QUEUE", queue).encode()).decode()
    return found


def more_bodies() -> dict[str, str]:
    """Return other kinds than the collected ones: types, ranges and shapes of every field."""
    headers: dict[str, list[Any]] = {
        "id": [True, None, [1], {}, "", " ", "\ud800"], "task": [["ok"], {}, 5, ""],
        "retries": ["many", 10**30, True, [1], {}], "eta": [5, [1], "99999-01-01T00:00:00",
        "9999-12-31T23:59:59+00:00", "garbage"], "expires": ["soon", 12, [1], {}],
        "timelimit": ["5", [-1, None], [1, 2, 3], {"a": 1}, ["a", "b"], [True, None]],
        "stamped_headers": [[[1]], [{}], 5, True], "shadow": [{"a": 1}, [1]],
        "compression": [{"a": 1}, "bzip2", "x"], **{name: [1] for name in SHADOWING},
    }  # fmt: skip
    properties: dict[str, list[Any]] = {
        "delivery_info": [[1], "x", {"routing_key": 5}], "body_encoding": ["rot13", 3],
    }  # fmt: skip
    parts = [
        5, [1], "", "null", "{", "[]", "[[],{},{},{}]", "[{},{},{}]", "[[],[],{}]", "[[],{},[]]",
        '[[],{},{"id":5}]', '[[],{},{"group":"g"}]', '[[],{},{"__class__":1}]',
        '[[],{},{"callbacks":"x"}]', '[[],{},{"callbacks":[1]}]',
        '[[],{},{"errbacks":[{"x":1}]}]', '[[],{},{"chord":"x"}]', '[[],{},{"chain":5}]',
        '[[],{},{"chain":[5]}]', "[" * 3000 + "]" * 3000,
        "[[" + "9" * 5000 + "],{},{}]", "[[" + "[" * 900 + "]" * 900 + "],{},{}]",
    ]  # fmt: skip
    found = {}
    for name, values in headers.items():
        for number, value in enumerate(values):
            found[f"header-{name}-{number}"] = message("ok", headers={name: value})
    for name, values in properties.items():
        for number, value in enumerate(values):
            found[f"property-{name}-{number}"] = message("ok", properties={name: value})
    for number, value in enumerate(parts):
        found[f"body-{number}"] = message("ok", body=value)
    changed: dict[str, dict[str, Any]] = {
        "type-list": {"content-type": ["a"]}, "type-yaml": {"content-type": "application/x-yaml"},
        "encoding-number": {"content-encoding": 1}, "encoding-bogus": {"content-encoding": "u-9"},
        "headers-text": {"headers": "x"}, "headers-missing": {"headers": None},
    }  # fmt: skip
    for name, top in changed.items():
        found[name] = json.dumps({**json.loads(message("ok")), **top})
    found |= {
        "deep-header": '{"headers":' + '{"a":' * 950 + "1" + "}" * 950 + "}",
        "binary": base64.b64encode(bytes(range(256))).decode(),
        "number": "12", "text": '"abc"', "null": "null", "xml": "<a/>", "blank": "   ",
        "notification": json.dumps({"Type": "Notification", "Message": "hi"}),
    }  # fmt: skip
    return found


def test_malformed_messages_are_dead_lettered_among_healthy_ones(lab: Lab) -> None:
    bad = {**bodies(lab.queue), **more_bodies()}
    names = list(bad)
    mixed = []
    for number in range(max(30, len(names))):
        if number < 30:
            mixed.append(message("ok", number, queue=lab.queue))
        if number < len(names):
            mixed.append(bad[names[number]])
    lab.send_all(mixed)
    # So many are held that receives bring ten at once.
    worker = lab.start_worker(unknown_task_grace=0, conf={"worker_prefetch_multiplier": 10})
    pid = worker.pid
    wait_for(lambda: lab.dead_count() >= len(names) and lab.empty(), seconds=60)
    assert worker.poll() is None
    wait_for(lambda: lab.status().get("counters", {}).get("acknowledged") == 30)
    status = lab.status()
    assert status["pid"] == pid
    assert status["live"]
    assert status["counters"]["received"] == len(mixed)
    assert status["counters"]["receives"] <= len(mixed) / 10 + 20
    assert sorted(note["args"][0] for note in lab.notes("ok")) == list(range(30))
    assert {note["receives"] for note in lab.notes("ok")} == {1}
    letters = lab.letters()
    assert sorted(letter["body"] for letter in letters) == sorted(bad.values())
    reasons = {letter["body"]: letter["reason"] for letter in letters}
    for name, body in bad.items():
        assert reasons[body] == ("unknown-task" if name == "unreg" else "malformed"), name


def test_what_libraries_put_into_messages_runs(lab: Lab) -> None:
    lab.send_all(
        [
            message("ok", number, headers=headers, properties=properties, queue=lab.queue,
                    body=json.dumps([[number], {}, embed]))
            for number, (headers, properties, embed) in enumerate(FOREIGN.values())
        ]
    )  # fmt: skip
    lab.start_worker("-E", conf={"worker_prefetch_multiplier": 10})
    wait_for(lambda: lab.has_notes("ok", len(FOREIGN)) or lab.dead_count(), seconds=60)
    assert sorted(note["args"][0] for note in lab.notes("ok")) == list(range(len(FOREIGN)))
    wait_for(lab.empty)
    assert lab.dead_count() == 0


def test_messages_of_stock_kombu_are_read(lab: Lab) -> None:
    inner = json.loads(message("ok", "old"))
    inner["body"] = base64.b64encode(inner["body"].encode()).decode()
    inner["properties"]["body_encoding"] = "base64"
    inner["properties"]["delivery_tag"] = "theirs"
    lab.put(base64.b64encode(json.dumps(inner).encode()).decode())
    lab.start_worker()
    wait_for(lambda: lab.notes("ok") and lab.empty())
    assert lab.notes("ok")[0]["args"] == ["old"]


def test_an_unknown_task_waits_for_its_grace(lab: Lab) -> None:
    lab.send("no.such.task")
    lab.start_worker(unknown_task_grace=2)
    wait_for(lambda: "unknown task" in lab.log())
    assert lab.dead_count() == 0
    wait_for(lambda: lab.dead_count() == 1)
    (letter,) = lab.letters()
    assert letter["reason"] == "unknown-task"
    assert letter["receive_count"] > 1


def test_an_expired_message_is_not_run_and_not_dead(lab: Lab) -> None:
    lab.put(message("ok", headers={"expires": "2020-01-01T00:00:00+00:00"}))
    lab.start_worker()
    wait_for(lambda: "expired before it ran" in lab.log() and lab.empty())
    assert not lab.notes("ok")
    assert lab.dead_count() == 0
