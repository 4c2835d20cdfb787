"""Known ways in which a message or a delete is lost, repeated or delayed: ours does none."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.sqs_lab import Lab, message
from support.waiting import wait_for


def test_an_undecodable_body_is_dead_lettered(lab: Lab) -> None:
    broken = message(
        "ok",
        body=base64.b64encode(b"{").decode(),
        properties={"body_encoding": "base64"},
        queue=lab.queue,
    )
    lab.put(broken)
    worker = lab.start_worker()
    wait_for(lambda: lab.dead_count() == 1 and lab.empty())
    (letter,) = lab.letters()
    assert (letter["reason"], letter["body"]) == ("malformed", broken)
    assert worker.poll() is None


def test_an_eta_beyond_the_visibility_runs_once(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(visibility=1, receives=3)
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=6)
    lab.put(message("ok", "later", headers={"eta": moment.isoformat()}, queue=lab.queue))
    lab.start_worker(lease=2)
    wait_for(lambda: lab.notes("ok") and lab.empty())
    (note,) = lab.notes("ok")
    assert note["at"] >= moment.timestamp()
    assert lab.dead_count() == 0


@pytest.mark.long
def test_a_denied_delete_neither_ends_the_worker_nor_repeats_the_task(
    lab: Lab, proxy: FaultProxy
) -> None:
    worker = lab.start_worker(endpoint=proxy.url, lease=3)
    proxy.break_with(Fault("error", 403, "AccessDenied", operations=("DeleteMessageBatch",)))
    lab.send("ok", 1)
    wait_for(lambda: lab.notes("ok"))
    lab.send("sleep", 5)  # longer than the lease
    wait_for(lambda: lab.notes("end"))
    assert proxy.faulted["DeleteMessageBatch"] >= 2
    assert worker.poll() is None
    proxy.heal()
    wait_for(lab.empty)
    assert len(lab.notes("ok")) == len(lab.notes("start")) == 1


@pytest.mark.long
def test_a_small_worker_is_not_held_up_by_polling(lab: Lab) -> None:
    for number in range(30):
        lab.send("ok", number)
    lab.start_worker(concurrency=1, conf={"worker_prefetch_multiplier": 1})
    wait_for(lambda: len(lab.notes("ok")) == 30)
    times = [note["at"] for note in lab.notes("ok")]
    # One a second is what a polling interval leaves of it.
    assert max(times) - min(times) < 15


def test_an_idle_worker_polls_for_as_long_as_sqs_allows(lab: Lab, proxy: FaultProxy) -> None:
    lab.start_worker(endpoint=proxy.url)
    wait_for(lambda: proxy.seen["ReceiveMessage"])
    lab.send("ok", 1)
    wait_for(lambda: lab.notes("ok") and lab.empty())
    wait_for(lambda: len(proxy.waits) == 2)
    assert proxy.waits == [20, 20]


@contextmanager
def short_lived_credentials(seconds: float) -> Iterator[tuple[str, Callable[[str], bool]]]:
    """Serve a container role's credentials; yield where, and what tells valid keys."""
    began = time.monotonic()

    def generation() -> int:
        return int((time.monotonic() - began) / seconds)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
            payload = json.dumps(
                {
                    "AccessKeyId": f"KEY{generation()}",
                    "SecretAccessKey": "secret",
                    "Token": "token",
                    "Expiration": soon.strftime("%Y-%m-%dT%H:%M:%SZ"),
                }
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield (
            f"http://127.0.0.1:{server.server_address[1]}/",
            lambda key: key == f"KEY{generation()}",
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.mark.long
def test_expired_credentials_are_renewed(lab: Lab, proxy: FaultProxy) -> None:
    with short_lived_credentials(3) as (url, valid):
        proxy.accepts = valid
        worker = lab.start_worker(
            endpoint=proxy.url,
            wait_time=1,
            variables={
                "AWS_ACCESS_KEY_ID": "",
                "AWS_SECRET_ACCESS_KEY": "",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
            },
        )
        for number in range(4):
            lab.send("ok", number)
            wait_for(partial(lab.has_notes, "ok", number + 1))
            time.sleep(2)
        wait_for(lab.empty)
    assert worker.poll() is None
    assert len(lab.notes("ok")) == 4
