from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from support.aws import emulator_environment
from support.waiting import wait_for

from sealwax.local.emulator import Emulator, EmulatorFailed, is_ready
from sealwax.local.ports import free_port


def sqs(emulator: Emulator):
    return boto3.client(
        "sqs",
        endpoint_url=emulator.url,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def start(state: Path, log: Path) -> Emulator:
    return Emulator(state=state, environment=emulator_environment(), log=log)


def test_state_outlives_a_clean_stop(tmp_path):
    with start(tmp_path / "state", tmp_path / "log") as emulator:
        url = sqs(emulator).create_queue(QueueName="kept")["QueueUrl"]
        sqs(emulator).send_message(QueueUrl=url, MessageBody="kept")

    with start(tmp_path / "state", tmp_path / "log") as emulator:
        url = sqs(emulator).get_queue_url(QueueName="kept")["QueueUrl"]
        messages = sqs(emulator).receive_message(QueueUrl=url, WaitTimeSeconds=1)["Messages"]
    assert [message["Body"] for message in messages] == ["kept"]
    assert emulator.process.returncode == 0


def test_state_outlives_a_kill_but_for_the_last_seconds(tmp_path):
    with start(tmp_path / "state", tmp_path / "log") as emulator:
        sqs(emulator).create_queue(QueueName="kept")
        saved = tmp_path / "state/services/sqs.json"
        wait_for(lambda: saved.exists() and "kept" in saved.read_text(), what="a snapshot")
        os.kill(emulator.process.pid, signal.SIGKILL)
        emulator.process.wait()

    with start(tmp_path / "state", tmp_path / "log") as emulator:
        assert sqs(emulator).get_queue_url(QueueName="kept")["QueueUrl"]


def test_a_taken_port_is_refused_by_name(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(EmulatorFailed, match=str(port)):
            Emulator(port=port, environment=emulator_environment())


def test_it_ends_when_whoever_started_it_is_killed(tmp_path):
    port = free_port()
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sealwax.local.emulator import Emulator\n"
        "Emulator(port=int(sys.argv[1]), environment=Path(sys.argv[2]))\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(port), str(emulator_environment())],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout
    with parent.stdout:
        assert parent.stdout.readline() == b"up\n"
        assert is_ready(port)
        parent.kill()
        parent.wait()
        wait_for(lambda: not is_ready(port), what="the emulator's end")
