"""The example of an existing app: before and after exchange messages both ways."""

from __future__ import annotations

import os
import subprocess
import sys
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


def send(lab: Lab, side: str, path: Path, orders: range) -> None:
    code = f"from shop import confirm\nfor n in {orders!r}: confirm.delay(n, {str(path)!r})"
    subprocess.run([sys.executable, "-c", code], env=environment(lab, side), check=True, timeout=60)


def work(lab: Lab, side: str, path: Path, count: int, python: str = sys.executable) -> None:
    with lab.log_path.open("ab") as log:
        worker = subprocess.Popen(
            [python, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-l", "INFO"],
            env=environment(lab, side),
            stdout=log,
            stderr=log,
        )
    lab.workers.append(worker)
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


def test_messages_of_both_sides_run_after_the_change(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    send(lab, "before", path, range(10))
    send(lab, "after", path, range(10, 20))
    work(lab, "after", path, 20)
    assert sorted(map(int, path.read_text().split())) == list(range(20))


@pytest.mark.comparison
def test_messages_of_both_sides_run_before_the_change(lab: Lab, tmp_path: Path) -> None:
    stock = os.environ.get("SEALWAX_STOCK_PYTHON")
    if not stock:
        pytest.skip("SEALWAX_STOCK_PYTHON names no Python with celery[sqs]")
    path = tmp_path / "orders.txt"
    send(lab, "after", path, range(10))
    send(lab, "before", path, range(10, 20))
    work(lab, "before", path, 20, stock)
    assert sorted(map(int, path.read_text().split())) == list(range(20))
