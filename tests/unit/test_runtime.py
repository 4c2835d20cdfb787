"""A role that starts while its secrets cannot be reached."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealwax.keys.lifecycle import init_keys
from sealwax.ledger import Ledger
from sealwax.runtime import Runtime
from sealwax.secrets import FileSource, SecretNotFound, SecretsUnreachable
from sealwax.settings import Settings, load_settings


class Away:
    """A source that cannot be reached at first."""

    def __init__(self, behind: FileSource, failures: int) -> None:
        self._behind = behind
        self.failures = failures

    def get(self, name: str) -> str:
        if self.failures:
            self.failures -= 1
            raise SecretsUnreachable
        return self._behind.get(name)

    def put(self, name: str, value: str, *, after: int | None = None) -> int:
        raise NotImplementedError


@pytest.fixture
def start(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Runtime, Away]]:
    monkeypatch.chdir(tmp_path)
    settings: Settings = load_settings()
    file = FileSource(tmp_path / "secrets.json")
    init_keys(settings, file)
    # No test waits: each look at the clock is a second later.
    now = iter(range(10_000))
    monkeypatch.setattr("sealwax.runtime._pause", lambda _: None)

    def made(failures: int, **options: float) -> tuple[Runtime, Away]:
        source = Away(file, failures)
        runtime = Runtime(
            settings, "worker", {}, source=source, ledger=Ledger(None, "jobs"),
            monotonic=lambda: float(next(now)), **options,
        )  # fmt: skip
        return runtime, source

    return made


def test_it_waits_for_secrets_that_cannot_be_reached_at_first(start) -> None:
    runtime, source = start(5, patience=60.0)
    assert source.failures == 0
    assert runtime.keyring.recipient("worker")


def test_it_gives_up_at_the_end_of_its_patience(start) -> None:
    with pytest.raises(SecretsUnreachable):
        start(1_000, patience=20.0)


def test_without_patience_it_fails_at_once(start) -> None:
    with pytest.raises(SecretsUnreachable):
        start(1)


def test_a_missing_secret_is_not_waited_for(start, tmp_path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    with pytest.raises(SecretNotFound):
        start(0, patience=60.0)
