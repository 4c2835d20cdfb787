"""The example of an existing app: before and after exchange messages both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.sqs_lab import ROOT, Lab
from support.waiting import wait_for

EXAMPLE = ROOT / "examples/existing_celery_app"


def environment(lab: Lab, side: str) -> dict[str, str]:
    return lab.environment() | {
        "ORDERS_QUEUE_URL": lab.queue_url,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLE / side), str(ROOT)]),
    }


def send(
    lab: Lab, side: str, path: Path, orders: range, code: str = "confirm.delay(n, path)"
) -> None:
    code = f"from shop import confirm\npath = {str(path)!r}\nfor n in {orders!r}: {code}"
    subprocess.run([sys.executable, "-c", code], env=environment(lab, side), check=True, timeout=60)


def start(lab: Lab, side: str, python: str = sys.executable) -> subprocess.Popen[bytes]:
    before = lab.log().count(" ready.")
    with lab.log_path.open("ab") as log:
        worker = subprocess.Popen(
            [python, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-l", "INFO"],
            env=environment(lab, side),
            stdout=log,
            stderr=log,
        )
    lab.workers.append(worker)
    wait_for(lambda: lab.log().count(" ready.") > before, seconds=30)
    return worker


def stock_python() -> str:
    stock = os.environ.get("SEALWAX_STOCK_PYTHON")
    if not stock:
        pytest.skip("SEALWAX_STOCK_PYTHON names no Python with celery[sqs]")
    return stock


def work(lab: Lab, side: str, path: Path, count: int, python: str = sys.executable) -> None:
    start(lab, side, python)
    wait_for(lambda: path.exists() and len(path.read_text().split()) >= count, seconds=40)
    wait_for(lab.empty)


def test_the_diff_in_the_readme_is_the_diff(tmp_path: Path) -> None:
    done = subprocess.run(
        ["diff", "-u", "before/shop.py", "after/shop.py"],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
    )
    changes = "\n".join(done.stdout.splitlines()[2:])
    assert changes in (EXAMPLE / "README.md").read_text()


@pytest.mark.long
def test_messages_of_both_sides_run_after_the_change(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    # Plain ones of the old side, delayed ones, and chains.
    kinds = [
        "confirm.delay(n, path)",
        "confirm.apply_async((n + 20, path), countdown=1)",
        "(confirm.si(n + 40, path) | confirm.si(n + 60, path)).apply_async()",
    ]
    send(lab, "before", path, range(10), code="; ".join(kinds))
    send(lab, "after", path, range(10, 20))
    work(lab, "after", path, 50)
    found = sorted(map(int, path.read_text().split()))
    assert found == [*range(30), *range(40, 50), *range(60, 70)]
    assert lab.dead_count() == 0


def test_a_flask_app_loses_nothing_that_its_tasks_raise(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.txt"
    monkeypatch.setenv("ORDERS_FILE", str(path))
    start(lab, "flask")
    send(lab, "flask", path, range(12, 16), code="confirm.delay(n)")
    wait_for(lambda: lab.dead_count() == 1 and lab.empty(), seconds=40)
    assert sorted(map(int, path.read_text().split())) == [12, 14, 15]
    (letter,) = lab.letters()
    assert (letter["reason"], letter["error"]) == ("rejected", "ValueError")


@pytest.mark.comparison
def test_messages_of_both_sides_run_before_the_change(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    send(lab, "after", path, range(10))
    send(lab, "before", path, range(10, 20))
    work(lab, "before", path, 20, stock_python())
    assert sorted(map(int, path.read_text().split())) == list(range(20))


@pytest.mark.comparison
def test_a_rolling_deploy_forward_and_back_loses_nothing(
    make_lab: Callable[..., Lab], tmp_path: Path
) -> None:
    lab = make_lab(visibility=5)
    path = tmp_path / "orders.txt"
    stock = stock_python()
    sent = 0

    def more(side: str) -> None:
        nonlocal sent
        send(lab, side, path, range(sent, sent + 40))
        sent += 40

    def done() -> set[int]:
        return set(map(int, path.read_text().split())) if path.exists() else set()

    def roll(old: subprocess.Popen[bytes], side: str, python: str) -> subprocess.Popen[bytes]:
        """Start the new side, send from both meanwhile, end the old one while it works."""
        new = start(lab, side, python)
        more("before")
        more("after")
        old.terminate()
        more(side)
        assert old.wait(60) == 0
        return new

    worker = start(lab, "before", stock)
    more("before")
    worker = roll(worker, "after", sys.executable)
    worker = roll(worker, "before", stock)
    worker = roll(worker, "after", sys.executable)
    wait_for(lambda: len(done()) == sent and lab.empty(), seconds=60)
    assert done() == set(range(sent))
    assert lab.dead_count() == 0
    assert worker.poll() is None
