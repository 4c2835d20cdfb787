"""The chaos suite's proxy fails AWS calls as its plan says, and sees the canary."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from chaos.observer import forms
from chaos.plan import fault_of
from support.sqs_lab import server_state, sqs_server

TESTS = Path(__file__).parents[2]
MARK = "CANARY0123456789abcdef"


class Running:
    def __init__(self, upstream: str, seed: int, folder: Path) -> None:
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "chaos.proxy", upstream.rpartition(":")[2], str(seed),
                str(folder), *forms(MARK),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )  # fmt: skip
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def order(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.line() == word

    def call(self, body: str = "{}") -> http.client.HTTPResponse:
        headers = {
            "X-Amz-Target": "AmazonSQS.ListQueues",
            "Content-Type": "application/x-amz-json-1.0",
        }
        # Closed where the call fails, too, which is what most of these tests are for.
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", "/", body, headers)
            answer = connection.getresponse()
            answer.read()
        return answer

    def end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self.process.wait(20)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with sqs_server() as url:
        yield url


@pytest.fixture
def start(upstream: str, tmp_path: Path) -> Iterator[Callable[[int], Running]]:
    running: list[Running] = []

    def begin(seed: int) -> Running:
        running.append(Running(upstream, seed, tmp_path))
        return running[-1]

    yield begin
    for one in running:
        one.end()


def seed_of(fault: str) -> int:
    return next(seed for seed in range(10_000) if fault_of(seed, 0) == fault)


@pytest.mark.parametrize("fault", ["500", "throttle", "reset", "lost", "delay"])
def test_a_call_fails_as_planned(start, upstream: str, fault: str) -> None:
    proxy = start(seed_of(fault))
    assert proxy.call().status == 200  # nothing is armed yet
    before = sum(server_state(upstream)["calls"].values())
    proxy.order("arm")
    begun = time.monotonic()
    if fault in {"reset", "lost"}:
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            proxy.call()
    else:
        assert proxy.call().status == {"500": 500, "throttle": 400, "delay": 200}[fault]
    assert time.monotonic() - begun >= (2.0 if fault == "delay" else 0.0)
    arrived = sum(server_state(upstream)["calls"].values()) - before
    assert arrived == (1 if fault in {"lost", "delay"} else 0)
    proxy.order("disarm")
    assert proxy.call().status == 200


def test_nothing_passes_while_aws_is_cut_off(start) -> None:
    proxy = start(1)
    proxy.order("cut")
    for _ in range(3):
        with pytest.raises((ConnectionError, http.client.BadStatusLine)):
            proxy.call()
    proxy.order("heal")
    assert proxy.call().status == 200


def test_the_canary_is_seen_in_a_request(start, tmp_path: Path) -> None:
    proxy = start(1)
    proxy.call(json.dumps({"QueueNamePrefix": MARK}))
    proxy.call(json.dumps({"QueueNamePrefix": "nothing"}))
    proxy.end()
    seen = json.loads((tmp_path / "proxy.json").read_text())
    assert seen["sightings"] == ["request ListQueues"]
    assert seen["calls"] == {"ListQueues": 2}
