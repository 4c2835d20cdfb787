"""Emulated AWS for tests: ministack for behaviour of queues, moto for KMS and IAM."""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from sealwax.aws.clients import Aws
from sealwax.local.emulator import Emulator
from sealwax.local.environment import default_folder
from sealwax.settings import Settings, load_settings
from support.expiries import watched_for_expired_writes
from support.lab_aws import hard_proxy
from support.lab_setting import HARD, SEED

REPOSITORY = Path(__file__).parent.parent.parent

#: One list while an emulator runs: what was written to it that has expired already.
_EXPIRED_WRITES: list[list[str]] = []

CLIENT_VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
}


def pytest_report_header() -> str | None:
    """Name the laboratory's seed: with it the same dice are thrown."""
    return f"SEALWAX_LAB=hard SEALWAX_LAB_SEED={SEED}" if HARD else None


def emulator_environment() -> Path:
    """Return the folder of the emulator's Python environment, shared by all runs."""
    if os.environ.get("SEALWAX_EMULATOR_ENV"):
        return default_folder()
    return REPOSITORY / ".venv-emulator"


@pytest.fixture(scope="session", autouse=True)
def _models_are_read_once() -> Iterator[None]:
    """Let all sessions of a test process share what botocore reads from its files.

    A session reads the models of its services anew, megabytes of JSON: a third of
    what a test with clients of its own takes.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        load = functools.partial(JSONFileLoader.load_file, JSONFileLoader())
        read = functools.cache(lambda path: pickle.dumps(load(path)))
        # A copy for each: botocore writes into what it has read, and a client with a
        # model that another has used knows no exceptions of its service.
        monkeypatch.setattr(JSONFileLoader, "load_file", lambda _, path: pickle.loads(read(path)))
        yield


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One emulated AWS for each test process, keeping nothing; what tests use of it is its URL."""
    log = tmp_path_factory.mktemp("ministack") / "ministack.log"
    with contextlib.ExitStack() as stack:
        emulator: Any = stack.enter_context(Emulator(environment=emulator_environment(), log=log))
        if HARD:
            emulator = stack.enter_context(hard_proxy(emulator.url, SEED))
        noted = stack.enter_context(watched_for_expired_writes(emulator.url))
        _EXPIRED_WRITES.append(noted)
        yield emulator
        _EXPIRED_WRITES.remove(noted)


@pytest.fixture(autouse=True)
def _items_outlive_their_test() -> Iterator[None]:
    """Fail the test whose clock stands so far in the past that the emulator deletes its items."""
    yield
    for noted in _EXPIRED_WRITES:
        found, noted[:] = list(noted), []
        assert found == [], "begin the test's clock at support.expiries.FAR or the real now"


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """URL of moto in this process: right for KMS, IAM and CloudFormation."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def settings_for(monkeypatch: pytest.MonkeyPatch, folder: Path, endpoint: str) -> Settings:
    """Point the process to an emulated AWS, in an environment of its own; return settings."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "SEALWAX_")):
            monkeypatch.delenv(name)
    for name, value in CLIENT_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    # No sealwax.toml of whoever runs the tests, and no two tests with one name.
    environment = f"t{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("SEALWAX_ENVIRONMENT", environment)
    config = folder / "sealwax.toml"
    config.write_text('task_modules = ["tasks"]\n')
    monkeypatch.setenv("SEALWAX_CONFIG", str(config))
    return load_settings()


@pytest.fixture
def aws_env(ministack: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Settings of an environment of this test's own on ministack; nothing is provisioned.

    The process's environment points there too, so child processes find it.
    """
    return settings_for(monkeypatch, tmp_path, ministack.url)


@pytest.fixture
def moto_env(moto_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The same on moto."""
    return settings_for(monkeypatch, tmp_path, moto_server)


@pytest.fixture
def aws(request: pytest.FixtureRequest) -> Aws:
    """Clients of the emulated AWS that the test asked for (`aws_env` or `moto_env`)."""
    if "moto_env" in request.fixturenames:
        request.getfixturevalue("moto_env")
    else:
        request.getfixturevalue("aws_env")
    return Aws()


@pytest.fixture
def provisioned(aws_env: Settings, aws: Aws) -> Settings:
    """`aws_env` with its queues, tables and keys made."""
    from sealwax.provision import provision

    provision(aws_env, aws)
    return aws_env
