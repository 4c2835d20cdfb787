"""This repository's application under gunicorn, by its own entry."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import requests
from support.aws import REPOSITORY
from support.waiting import wait_for

from sealwax.local.ports import free_port


def test_gunicorn_serves_it_by_its_wsgi_entry(app, auth, settings, tmp_path: Path):
    # `app` has made keys and a token; the task of webhooks wants no route here.
    (tmp_path / "sealwax.toml").write_text('task_modules = ["tasks.customers"]\n')
    port, health = free_port(), free_port()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "api/gunicorn.conf.py",
             "--bind", f"127.0.0.1:{port}", "--bind", f"127.0.0.1:{health}", "api.wsgi:app"],
            cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def answer() -> requests.Response | None:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return requests.get(f"http://127.0.0.1:{port}/v1/whoami", headers=auth, timeout=5)
        except requests.ConnectionError:
            return None

    try:
        found = wait_for(answer, what="gunicorn's first answer")
        assert found.status_code == 200, (tmp_path / "log").read_text()
        assert found.json()["scopes"] == ["jobs:read", "jobs:submit"]
        assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
        aside = f"http://127.0.0.1:{health}"
        assert requests.get(f"{aside}/healthz", timeout=5).json() == {"status": "ok"}
        assert requests.get(f"{aside}/readyz", timeout=5).json() == {"status": "ready"}
        metrics = requests.get(f"{aside}/metrics", timeout=5).text
        assert "sealwax_edge_connections" in metrics
        assert re.search(r"^sealwax_clock_off_seconds\{pid=.*\} 0\.0$", metrics, re.MULTILINE)
        ways = r'^sealwax_aws_clients\{pid="\d+",service="dynamodb",way="direct"\} 1$'
        assert re.search(ways, metrics, re.MULTILINE), metrics
        assert requests.get(f"{aside}/v1/whoami", headers=auth, timeout=5).status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait(timeout=10)
    lines = (tmp_path / "log").read_text()
    # One configuration for both ways: gunicorn's own lines are JSON too.
    assert '"event": "request"' in lines
    assert "[INFO]" not in lines, lines
