"""Hostile Celery messages: each bears a job's id, and none is the job's own.

Pure: `hostile_messages` returns texts by the name of their kind. What a
stranger wants to see in a log stands in them as `CANARY`.
"""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import uuid
import zlib
from collections.abc import Callable
from typing import Any

from support.attacker import Message

__all__ = ["CANARY", "flipped", "hostile_messages"]

#: Stands wherever a message says anything in words.
CANARY = "AKIASTRANGERSTRANGER"


class _Bomb:
    """Unpickled, it would run a program."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"echo {CANARY}",)


def hostile_messages(genuine: Message) -> dict[str, str]:
    """Return hostile messages that bear a genuine message's id.

    Parameters
    ----------
    genuine
        A stolen message; its envelope goes into the messages whose *form* is what
        is wrong with them, so that nothing else ends them.
    """
    job = str(genuine.body["headers"]["id"])
    texts = {
        **_forms(genuine, job),
        **_links(genuine),
        **_facts(genuine),
        **_bodies(genuine),
        **_arguments(genuine),
    }
    # No two alike: the archive would call the second a copy of the first.
    assert len(set(texts.values())) == len(texts)
    return texts


def _edited(genuine: Message, edit: Callable[[dict[str, Any]], Any]) -> str:
    body = json.loads(genuine.text)
    edit(body)
    body["note"] = uuid.uuid4().hex
    return json.dumps(body)


def _forms(genuine: Message, job: str) -> dict[str, str]:
    """Messages whose outer form is wrong."""
    text = genuine.text
    head = f'"headers": {{"task": "webhooks.relay", "id": "{job}"'
    return {
        "not-json": f"{CANARY} {job}",
        "a-list": json.dumps([genuine.body]),
        "pickle-outside": base64.b64encode(pickle.dumps(_Bomb())).decode(),
        "half-surrogate-in-a-headers-name": text.replace(
            '"headers": {', f'"headers": {{"group_id": 1, "shadow\\ud800": "{CANARY}", ', 1
        ),
        "half-surrogate-in-the-id": text.replace(f'"id": "{job}"', f'"id": "{job[:-1]}\\udfff"', 1),
        "huge-integer": text.replace(
            '"headers": {', '"headers": {"retries": ' + "9" * 5_000 + ", ", 1
        ),
        "infinite-generation": text.replace('"headers": {', '"headers": {"generation": 1e999, ', 1),
        "deep-outside": text.replace(
            '"headers": {', '"headers": {"mark": ' + "[" * 600 + "]" * 600 + ", ", 1
        ),
        "very-deep-outside": "[" * 90_000 + "]" * 90_000,
        # The last one counts, for everybody who reads it.
        "two-ids": text.replace(
            '"headers": {', '"headers": {"id": "' + "0" * 32 + '", ', 1
        ).replace('"argsrepr"', '"retries": -1, "argsrepr"', 1),
        "headers-as-a-list": _edited(
            genuine, lambda body: body.update(headers=list(body["headers"].items()))
        ),
        "headers-as-text": _edited(
            genuine, lambda body: body.update(headers=json.dumps(body["headers"]))
        ),
        "no-headers": _edited(genuine, lambda body: body.pop("headers")),
        "properties-as-a-list": _edited(genuine, lambda body: body.update(properties=[CANARY])),
        "header-of-celery": text.replace(head, head + ', "called_directly": true', 1)
        if head in text
        else text.replace('"headers": {', '"headers": {"called_directly": true, ', 1),
        "header-dunder": text.replace('"headers": {', '"headers": {"__class__": "os.system", ', 1),
        "header-reduce": text.replace(
            '"headers": {', '"headers": {"__reduce__": ["os.system", ["true"]], ', 1
        ),
    }


def _links(genuine: Message) -> dict[str, str]:
    """What Celery would send, or run, when the task has ended."""
    link = {"task": "webhooks.relay", "args": [genuine.argument], "kwargs": {}, "options": {}}
    embeds: dict[str, Any] = {
        "callbacks": {"callbacks": [link]},
        "errbacks": {"errbacks": [link]},
        "chain": {"chain": [link]},
        "chord": {"chord": link},
        "chord-of-none": {
            "chord": {"task": "celery.chord", "args": [], "kwargs": {}, "options": {}}
        },
        "unknown-embed": {"on_commit": [link]},
        "callback-with-queue": {"callbacks": [{**link, "options": {"queue": CANARY}}]},
    }
    made = {name: genuine.changed(embed=embed).text for name, embed in embeds.items()}
    tasks = ("celery.group", "celery.chain", "celery.chord_unlock", "celery.backend_cleanup",
             "celery.map", "celery.starmap", "celery.accumulate")  # fmt: skip
    return made | {task: genuine.changed(headers={"task": task}).text for task in tasks}


def _facts(genuine: Message) -> dict[str, str]:
    """Forged facts on an envelope that does not fit: they must neither help nor wait."""
    bad = genuine.changed(args=[flipped(genuine.argument)])
    facts: dict[str, dict[str, Any]] = {
        "eta": {"eta": "9990-01-01T00:00:00+00:00"},
        "expires": {"expires": "2020-01-01T00:00:00+00:00"},
        "timelimit": {"timelimit": [1e-9, 1e-9]},
        "retries": {"retries": 2**31 - 1},
        "redelivered": {"redelivered": True, "retries": 7},
        "generation": {"generation": 1},
        "generation-of-many-digits": {"generation": 10**30},
        "generation-below-none": {"generation": -1},
        "generation-as-text": {"generation": "0"},
        "group": {"group": uuid.uuid4().hex, "group_index": 2**31 - 1},
        "parents": {"root_id": "0" * 32, "parent_id": "0" * 32},
        "replaced": {"replaced_task_nesting": 2**31 - 1},
        "shadow": {"shadow": CANARY},
        "representations": {"argsrepr": f"password={CANARY}\n{{}}", "kwargsrepr": CANARY * 400},
        "stamps": {"stamped_headers": ["a"], "stamps": {"a": [CANARY]}},
        "not-ignored": {"ignore_result": False},
        "compression": {"compression": "application/x-gzip"},
        "unknown-task": {"task": f"no.such_task_{CANARY}"},
        "task-with-a-line-end": {"task": f"webhooks.relay\n{CANARY}"},
        "id-of-a-letter": {"id": "m-" + "0" * 32},
        "id-of-a-place": {"id": f"{genuine.body['headers']['id']}.0"},
        "id-in-capitals": {"id": str(genuine.body["headers"]["id"]).upper() + "A"},
        "id-as-a-number": {"id": 1},
        "id-as-a-path": {"id": f"../dead/{CANARY}"},
    }
    made = {f"forged-{name}": bad.changed(headers=fact).text for name, fact in facts.items()}
    properties: dict[str, dict[str, Any]] = {
        "reply-to": {"reply_to": "sealwax-acceptance_default", "correlation_id": CANARY},
        "delayed": {"sealwax-delayed": 10**12, "delay_seconds": 900},
        "routing": {
            "delivery_info": {"exchange": CANARY, "routing_key": "sealwax-acceptance-other"}
        },
        "priority": {"priority": 255},
    }
    for name, value in properties.items():
        changed = Message(bad.text)
        changed.body["properties"] |= value
        made[f"forged-{name}"] = changed.text
    return made


def _bodies(genuine: Message) -> dict[str, str]:
    """Bodies of other kinds: pickles, YAML, compressed, control messages."""
    parts = genuine.body["body"]
    bomb = base64.b64encode(pickle.dumps([[_Bomb()], {}, {}])).decode()
    yaml = f"!!python/object/apply:os.system ['echo {CANARY}']"
    inflated = b'[["' + b"x" * 60_000_000 + b'"],{},{}]'
    control: dict[str, Any] = {
        "method": "shutdown", "arguments": {}, "destination": None, "pattern": None,
        "matcher": None, "ticket": CANARY,
    }  # fmt: skip

    def body(text: str, **more: Any) -> str:
        properties = more.pop("properties", {})
        headers = more.pop("headers", {})

        def edit(message: dict[str, Any]) -> None:
            message.update(body=text, **more)
            message["properties"].update(properties)
            message["headers"].update(headers)

        return _edited(genuine, edit)

    return {
        "pickle": body(bomb, **{"content-type": "application/x-python-serialize",
                                "content-encoding": "binary",
                                "properties": {"body_encoding": "base64"}}),
        "pickle-called-json": body(bomb, properties={"body_encoding": "base64"}),
        "yaml": body(yaml, **{"content-type": "application/x-yaml"}),
        "msgpack": body("gqNmb28=", **{"content-type": "application/x-msgpack"}),
        "content-type-in-a-list": body(parts, **{"content-type": ["application/json"]}),
        "content-encoding-unknown": body(parts, **{"content-encoding": "rot13"}),
        "gzip-bomb": body(
            base64.b64encode(gzip.compress(inflated, 9)).decode(),
            properties={"body_encoding": "base64"}, headers={"compression": "application/x-gzip"},
        ),
        "zlib-bomb": body(
            base64.b64encode(zlib.compress(inflated, 9)).decode(),
            properties={"body_encoding": "base64"}, headers={"compression": "zlib"},
        ),
        "base64-with-line-ends": body(
            base64.encodebytes(parts.encode()).decode(),
            properties={"body_encoding": "base64"},
        ),
        "base64-of-the-other-alphabet": body("-_-_", properties={"body_encoding": "base64"}),
        "body-encoding-unknown": body(parts, properties={"body_encoding": "base85"}),
        "pidbox": _edited(genuine, lambda message: message.update(body=json.dumps(control))),
        "protocol-1": _edited(
            genuine,
            lambda message: message.update(
                body=json.dumps({"task": "webhooks.relay", "id": message["headers"]["id"],
                                 "args": [genuine.argument], "kwargs": {}}),
            ),
        ),
        "event": _edited(
            genuine,
            lambda message: message.update(
                body=json.dumps([{"type": "task-succeeded", "uuid": message["headers"]["id"]}])
            ),
        ),
        "empty-body": body(""),
        "number-body": _edited(genuine, lambda message: message.update(body=1e308)),
    }  # fmt: skip


def _arguments(genuine: Message) -> dict[str, str]:
    """Arguments that are not the one sealed text, and texts that are no envelope."""
    envelope = genuine.argument
    version, header, sealed, signature = (
        envelope.split(".") if envelope.count(".") == 3 else ("swx1", "e30", "AA", "AA")
    )
    arguments: dict[str, list[Any]] = {
        "no-argument": [],
        "two-arguments": [envelope, envelope],
        "argument-in-a-list": [[envelope]],
        "argument-in-an-object": [{"__reduce__": ["os.system", [CANARY]]}],
        "kombu-type": [{"__type__": "uuid", "__value__": {"hex": CANARY}}],
        "argument-null": [None],
        "forged": ["FORGED"],
        "half-surrogate": ["\ud800" + envelope],
        "other-version": [f"swx9.{header}.{sealed}.{signature}"],
        "no-signature": [f"{version}.{header}.{sealed}."],
        "swapped-parts": [f"{version}.{sealed}.{header}.{signature}"],
        "long-signature": [envelope + "A" * 1_000],
        "truncated": [envelope[:-7]],
        "reference-to-nothing": ["swxc1." + "0" * 64 + ".5"],
        "reference-of-many-bytes": ["swxc1." + "0" * 64 + "." + "9" * 9],
        "reference-with-a-path": ["swxc1." + "../" * 21 + "a.5"],
        "very-long": [CANARY * 4_000],
    }
    made = {f"args-{name}": genuine.changed(args=value).text for name, value in arguments.items()}
    for name in ("self", "args", "kwargs", "task_id", "__reduce__"):
        made[f"kwargs-{name}"] = genuine.changed(kwargs={name: CANARY}).text
    deep: Any = "x"
    for _ in range(110):
        deep = [deep]
    return made | {
        "args-deep": genuine.changed(args=[deep]).text,
        "parts-of-four": genuine.edited_parts(lambda parts: [*parts, {}]).text,
        "parts-of-two": genuine.edited_parts(lambda parts: parts[:2]).text,
        "kwargs-as-a-list": genuine.edited_parts(lambda parts: [parts[0], [], parts[2]]).text,
        "embed-null": genuine.edited_parts(lambda parts: [parts[0], parts[1], None]).text,
    }


def flipped(envelope: str) -> str:
    """Return an envelope whose ciphertext has one bit changed."""
    parts = envelope.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4)))
    raw[-1] ^= 1
    parts[2] = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    return ".".join(parts)
