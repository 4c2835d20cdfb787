"""The drop-in programs cover what Celery offers: each name is in one, or is left out by name."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from celery import Task, canvas, signals
from celery.app.amqp import AMQP
from celery.app.base import Celery
from celery.bin.worker import worker
from kombu import Producer

SUPPORT = Path(__file__).parents[2] / "support"
SOURCES = ("dropin.py", "dropin_app.py", "dropin_programs.py")
TREES = {name: ast.parse((SUPPORT / name).read_text()) for name in SOURCES}

#: What no program uses, by its kind, with the reason.
LEFT_OUT: dict[str, dict[str, str]] = {
    "option": {
        "self": "the task, app or producer itself",
        "name": "the task's name: the first argument of send_task, which a program uses",
        "options": "stands for the others",
        "publisher": "an old name of producer",
        "router": "Celery's own object for routes, handed over within it",
        "chord": "set by the canvas: the programs of chords send it",
        "callbacks": "what link becomes",
        "errbacks": "what link_error becomes",
        "now": "for tests of Celery's own",
        "timezone": "a setting of the app, which the second worker has",
        "origin": "set by Celery in each message; compared by being there",
        "create_sent_event": "from the setting task_send_sent_event, which the second worker has",
        "body": "made of the arguments by Celery",
        "content_type": "of a body that is encoded already; Celery's never is",
        "content_encoding": "of a body that is encoded already; Celery's never is",
        "properties": "stands for the others",
    },
    "retry": {
        "self": "the task itself",
        "options": "stands for those of apply_async",
        "eta": "what countdown becomes within retry",
    },
    "attribute": {
        "MaxRetriesExceededError": "an error class; the programs of used up retries raise it",
        "OperationalError": "an error class of lost connections",
        "Strategy": "refused by name: tests/addons has its program",
        "acks_on_failure_or_timeout": "when stock deletes a message; here an outcome decides",
        "acks_on_failure": "when stock deletes a message; here an outcome decides",
        "acks_on_timeout": "when stock deletes a message; here an outcome decides",
        "reject_on_worker_lost": "what stock does with a lost child; here max_crashes decides",
        "retry_on_worker_lost": "what stock does with a lost child; here max_crashes decides",
        "bind": "called by the app when it makes a task",
        "on_bound": "called by the app when it makes a task",
        "annotate": "called by the app for task_annotations, which the second worker has",
        "add_around": "the decorator of annotations",
        "from_config": "how settings become attributes; the second worker has such settings",
        "start_strategy": "called by the consumer",
        "subtask_from_request": "an old name of signature_from_request",
        "subtask": "an old name of signature",
        "add_to_chord": "needs a backend with native chords; the file backend has none",
        "push_request": "Celery's own, around each run",
        "pop_request": "Celery's own, around each run",
    },
    "signal": {
        "task_internal_error": "of defects in Celery's own trace; no program can cause one",
        "task_rejected": "of messages that are no tasks; the attack tests send them",
        "task_unknown": "a task nobody knows waits for a newer worker instead of being deleted",
        "worker_process_shutdown": "noted by children that may be killed before",
        "setup_logging": "a receiver would switch Celery's logging off, which the proof reads",
        "beat_init": "of beat, which sends as any process",
        "beat_embedded_init": "of beat, which sends as any process",
        "heartbeat_sent": "a matter of time",
        "eventlet_pool_started": "pools that need a package which is not installed",
        "eventlet_pool_preshutdown": "pools that need a package which is not installed",
        "eventlet_pool_postshutdown": "pools that need a package which is not installed",
        "eventlet_pool_apply": "pools that need a package which is not installed",
    },
    "worker option": {
        "--detach": "starts the same worker in the background",
        "--statedb": "keeps revokes, which go by remote control: docs/transport.md",
        "--disable-prefetch": "of Redis alone",
        "--time-limit": "the setting task_time_limit, which the second worker has",
        "--soft-time-limit": "the attribute soft_time_limit, which programs have",
        "--discard": "deletes what waits before the proof has sent anything",
        "--beat": "sends as any process",
        "--schedule-filename": "beat's",
        "--scheduler": "beat's",
        "--logfile": "where the log goes; the proof reads it where it is",
        "--pidfile": "for init systems; touches no task",
        "--uid": "needs root; touches no task",
        "--gid": "needs root; touches no task",
        "--umask": "touches no task",
        "--executable": "for --detach",
    },
    "canvas": {
        "Signature": "the class that signature() makes",
        "xmap": "the class that map() makes",
        "xstarmap": "the class that starmap() makes",
        "maybe_signature": "Celery's own, for links",
    },
}


def called(*functions: str) -> set[str]:
    """Return the keywords of these functions' calls, and the keys of all mappings."""
    found: set[str] = set()
    for name in ("dropin_app.py", "dropin_programs.py"):
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr in functions:
                    found |= {word.arg for word in node.keywords if word.arg}
                    found |= {"args", "kwargs"} if node.args else set()
            elif isinstance(node, ast.Dict):
                found |= {str(key.value) for key in node.keys if isinstance(key, ast.Constant)}
    return found


def written(*names: str) -> set[str]:
    """Return the attributes, keywords, definitions and texts of sources."""
    found: set[str] = set()
    for node in (node for name in names for node in ast.walk(TREES[name])):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def parameters(*functions: object) -> set[str]:
    return {name for one in functions for name in inspect.signature(one).parameters}  # type: ignore[arg-type]


def worker_options() -> dict[str, set[str]]:
    """Return the spellings of each option of `celery worker`, by its longest."""
    return {max(option.opts, key=len): set(option.opts) for option in worker.params}


def offered_and_used() -> dict[str, tuple[set[str], set[str]]]:
    """Return what Celery offers and what the programs use, by kind."""
    programs = ("dropin_app.py", "dropin_programs.py")
    options, words = worker_options(), written("dropin.py")
    return {
        "option": (
            parameters(Task.apply_async, Celery.send_task, AMQP.as_task_v2, Producer.publish),
            called("apply_async", "send_task", "set", "stamp"),
        ),
        "retry": (parameters(Task.retry), called("retry")),
        "attribute": (
            {name for name in vars(Task) if not name.startswith("_")},
            written(*programs),
        ),
        "signal": (set(signals.__all__), written("dropin_app.py")),
        "worker option": (
            set(options),
            {name for name, spellings in options.items() if spellings & words},
        ),
        "canvas": (set(canvas.__all__), written("dropin_programs.py")),
    }


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_each_thing_that_celery_offers_is_in_a_program_or_left_out_by_name(kind: str) -> None:
    offered, used = offered_and_used()[kind]
    assert len(offered) > 7
    assert sorted(offered - used - set(LEFT_OUT[kind])) == []


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_nothing_is_left_out_that_celery_no_longer_offers(kind: str) -> None:
    offered, _ = offered_and_used()[kind]
    assert sorted(set(LEFT_OUT[kind]) - offered) == []


def test_a_new_name_of_celery_is_found() -> None:
    for kind, (_, used) in offered_and_used().items():
        assert "a_new_name" not in used | set(LEFT_OUT[kind])
    assert {"countdown", "retry_policy", "queue"} <= called("apply_async")
    assert {"--autoscale", "--pool"} <= offered_and_used()["worker option"][1]
