"""Chains, groups and chords with a result backend, through real workers."""

from __future__ import annotations

import json
import subprocess
import sys

from support.sqs_lab import Lab

CODE = """
import json
from celery import chain, chord, group
from lab_app import add, total
print(json.dumps([
    chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=40),
    group(add.s(n, n) for n in range(5)).apply_async().get(timeout=40),
    chord([add.s(n, 1) for n in range(5)], total.s()).apply_async().get(timeout=40),
    add.apply_async((1, 1), link=add.s(5)).get(timeout=40),
]))
"""


def test_chains_groups_and_chords_work(lab: Lab) -> None:
    results = lab.folder / "results"
    results.mkdir()
    conf = {"result_backend": f"file://{results}", "task_ignore_result": False}
    lab.start_worker(conf=conf)
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env=lab.environment(conf=conf),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [10, [0, 2, 4, 6, 8], 15, 2]
    assert lab.dead_count() == 0
