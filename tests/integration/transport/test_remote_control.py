"""Celery's remote control and commands on SQS: each does what it can, or says what to use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.bin.celery import celery as command_line
from click.testing import CliRunner, Result
from kombu import Connection, Exchange, Queue
from support.sqs_lab import VARIABLES, Lab

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.transport.remote_control import NotSupported


@pytest.fixture
def app(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    made = Celery("commands", broker="sealwax://", set_as_current=False)
    made.conf.broker_transport_options = {"endpoint_url": lab.url, "region": "us-east-1"}
    made.conf.task_default_queue = lab.queue
    yield made
    made.close()


@pytest.fixture
def run(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command of Celery's for the app, as its `start` does."""
    monkeypatch.setattr(command_line.params[0], "default", app)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(command_line, list(arguments), prog_name="celery")

    return invoke


@pytest.mark.parametrize(
    ("name", "call", "says"),
    [
        (
            "revoke",
            lambda app: app.control.revoke("7d3f"),
            "'revoke'.*expires.*sealwax jobs cancel",
        ),
        ("a result's", lambda app: app.AsyncResult("7d3f").revoke(), "'revoke'.*expires"),
        ("terminate", lambda app: app.control.terminate("7d3f"), "expires"),
        ("rate_limit", lambda app: app.control.rate_limit("a", "1/m"), "configuration"),
        ("shutdown", lambda app: app.control.shutdown(), "SIGTERM"),
        ("ping", lambda app: app.control.ping(), "liveness_file"),
        ("inspect", lambda app: app.control.inspect().active(), "liveness_file"),
        ("registered", lambda app: app.control.inspect(timeout=1).registered(), "liveness_file"),
        ("add_consumer", lambda app: app.control.add_consumer("q"), "-Q"),
        ("purge", lambda app: app.control.purge(), "purge-queue"),
    ],
)
def test_remote_control_says_what_to_use(
    app: Celery, name: str, call: Callable[[Celery], Any], says: str
) -> None:
    with pytest.raises(NotSupported, match=says) as raised:
        call(app)
    assert str(raised.value).count(". ") == 0, "one sentence"


# Celery's own two `-d`.
@pytest.mark.filterwarnings("ignore:The parameter -d is used more than once")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", "ping"], "liveness_file"),
        (["inspect", "active", "--json"], "liveness_file"),
        (["status"], "liveness_file"),
        (["control", "rate_limit", "a", "1/m"], "configuration"),
        (["control", "shutdown"], "SIGTERM"),
        (["events", "--dump"], "events are not sent"),
        (["events", "--camera", "celery.events.snapshot.Polaroid"], "events are not sent"),
        (["purge", "-f"], "purge-queue"),
        (["purge", "-f", "-Q", "x"], "purge-queue"),
        (["migrate", "sealwax://", "memory://"], "start-message-move-task"),
    ],
)
def test_a_command_says_in_a_line_what_to_use(
    run: Callable[..., Result],
    arguments: list[str],
    says: str,
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.url)
    lab.send("ok", 1)
    done = run(*arguments)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == NotSupported.exit_code, done.output
    said = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert len(said) == 1, done.output
    assert says in said[0]
    assert "Traceback" not in done.output
    assert lab.depth() == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["queue.declare", "x"], "infrastructure code"),
        (["queue.declare", "x", "true"], "There is no|no SQS queue"),
        (["queue.delete", "QUEUE"], "never deletes"),
        (["queue.purge", "QUEUE"], "purge-queue"),
        (["queue.bind", "QUEUE", "x", "y"], "Exchanges"),
        (["exchange.declare", "x", "direct"], "Exchanges"),
        (["basic.publish", "hello", "", "QUEUE"], "celery call"),
        (["basic.get", "QUEUE"], "receive-message"),
    ],
)
def test_the_amqp_shell_does_nothing_in_silence(
    run: Callable[..., Result], arguments: list[str], says: str, lab: Lab
) -> None:
    lab.send("ok", 1)
    done = run("amqp", *[one.replace("QUEUE", lab.queue) for one in arguments])
    assert any(part in done.output for part in says.replace("QUEUE", lab.queue).split("|")), (
        done.output
    )
    assert "OK" not in done.output.split()
    assert "Traceback" not in done.output
    assert lab.depth() == (1, 0)


@pytest.mark.exact_lab  # what it says is SQS's count, late and too small
def test_a_passive_declaration_counts_what_waits(app: Celery, lab: Lab) -> None:
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        assert channel.queue_declare(lab.queue, passive=True).message_count == 0
        lab.send_all(["x"] * 7)
        assert channel.queue_declare(queue=lab.queue, passive=True).message_count == 7
        assert channel.queue_declare(lab.queue).queue == lab.queue
        with pytest.raises(connection.channel_errors, match="no SQS queue named 'gone'"):
            channel.queue_declare("gone", passive=True)


def test_a_broadcast_of_an_app_is_refused(app: Celery) -> None:
    queue = Queue("each", Exchange("each", type="fanout"))
    with app.connection_for_write() as connection, pytest.raises(NotSupported, match="fanout"):
        connection.Producer().publish({}, exchange=queue.exchange, declare=[queue])


def test_a_queue_for_one_answer_is_refused_where_it_is_received_from(app: Celery) -> None:
    queue = Queue("answer-7d3f", auto_delete=True, durable=False)
    with app.connection_for_read() as connection:
        consumer = connection.Consumer(queue, callbacks=[print])
        with pytest.raises(NotSupported, match="backend"):
            consumer.consume()


@pytest.mark.exact_lab  # what it says is SQS's count, late and too small
def test_the_amqp_shell_counts_what_waits(run: Callable[..., Result], lab: Lab) -> None:
    lab.send("ok", 1)
    done = run("amqp", "queue.declare", lab.queue, "true")
    assert f"queue:{lab.queue} messages:1 consumers:0" in done.output


def test_messages_migrate_from_another_broker(
    run: Callable[..., Result], app: Celery, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", lab.url)
    with Connection("memory://") as source:
        old = Celery("old", broker="memory://", set_as_current=False)
        for number in range(3):
            old.send_task("ok", [number], connection=source, queue=lab.queue)
        done = run("migrate", "memory://", "sealwax://", "-Q", lab.queue, "-n", "3")
    assert done.exit_code == 0, (done.output, done.exception)
    assert lab.depth() == (3, 0)


def test_a_worker_that_is_to_purge_does_not_start(lab: Lab) -> None:
    lab.send("ok", 1)
    environment = lab.environment()
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "lab_app", "worker", "-P", "solo", "--purge"],
        env=environment, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == NotSupported.exit_code, done.stdout + done.stderr
    assert "purge-queue" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert " ready." not in done.stdout + done.stderr
    assert lab.depth() == (1, 0)
