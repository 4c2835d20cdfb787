"""A role that starts while its secrets cannot be reached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sealwax.envelope import UnknownKey
from sealwax.errors import SealwaxError
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring
from sealwax.keys.lifecycle import init_keys, rotate_keys
from sealwax.keys.public import KeyringInvalid, PublicKeyring
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
    assert runtime.keyring.recipient("worker", "default")


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


# -- keys of one lane ------------------------------------------------------------------


class Noting(FileSource):
    """Notes what is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.got: list[str] = []

    def get(self, name: str) -> str:
        self.got.append(name)
        return super().get(name)


LANES = Settings(suite="x25519", lanes={"default": {}, "slow": {}})


@pytest.fixture
def noting(tmp_path: Path) -> Noting:
    source = Noting(tmp_path / "secrets.json")
    init_keys(LANES, source)
    source.got.clear()
    return source


def test_a_worker_reads_its_own_lane_s_keys_and_no_other(noting: Noting) -> None:
    runtime = Runtime(
        LANES, "worker", {}, lane="slow", source=noting, ledger=Ledger(None, "jobs")
    )  # fmt: skip
    assert set(noting.got) == {"shared/hmac", "shared/keyring", "worker/slow/keys"}
    keyring = runtime.keyring
    assert keyring.private(keyring.recipient("worker", "slow").id)
    with pytest.raises(UnknownKey):
        keyring.private(keyring.recipient("worker", "default").id)


def test_a_worker_finds_its_lane_s_first_key_when_it_reads_again(tmp_path: Path) -> None:
    noting = Noting(tmp_path / "secrets.json")
    for name, text in KeyDocuments.create("x25519", 1).secrets().items():
        noting.put(name, text)
    runtime = Runtime(
        LANES, "worker", {}, lane="slow", source=noting, ledger=Ledger(None, "jobs")
    )  # fmt: skip
    rotate_keys(LANES, noting, "worker", lanes=["slow"])
    new = PublicKeyring.load(noting.get("shared/keyring")).recipient("worker", "slow").id
    with pytest.raises(UnknownKey):
        runtime.keyring.private(new)
    assert runtime.refresh()
    assert runtime.keyring.private(new).id == new


def test_a_worker_of_a_lane_without_keys_says_what_to_run(noting: Noting) -> None:
    more = Settings(suite="x25519", lanes={"default": {}, "new": {}})
    with pytest.raises(KeyringInvalid, match="sealwax keys rotate --lane new"):
        Runtime(more, "worker", {}, lane="new", source=noting, ledger=Ledger(None, "jobs"))


def test_a_steward_has_the_public_keyring_and_reads_nothing_private(noting: Noting) -> None:
    runtime = Runtime(LANES, "steward", {}, source=noting, ledger=Ledger(None, "jobs"))
    assert set(noting.got) == {"shared/hmac", "shared/keyring"}
    assert runtime.public_keyring.recipient("worker", "slow")
    assert not isinstance(runtime.public_keyring, Keyring)
    with pytest.raises(SealwaxError, match="holds no keys"):
        _ = runtime.keyring
