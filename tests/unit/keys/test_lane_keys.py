"""Keys per lane: a worker opens its own lane's payloads alone, before, during and after moving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import Context, Expected, Purpose, UnknownKey, open_envelope, seal
from sealwax.errors import ConfigurationError
from sealwax.keys.documents import KeyInUse
from sealwax.keys.keyring import Keyring
from sealwax.keys.lifecycle import (
    KeysExist,
    complete_lanes,
    describe_keys,
    init_keys,
    key_documents,
    lanes_without_key,
    retire_key,
    rotate_keys,
)
from sealwax.keys.public import KeyringInvalid, PublicKeyring
from sealwax.secrets import FileSource, SecretVersionConflict
from sealwax.settings import Settings

NOW = 100


def _settings(*lanes: str, per_lane: bool = True) -> Settings:
    return Settings(
        suite="x25519", lanes={lane: {} for lane in lanes}, keys={"per_lane": per_lane}
    )  # fmt: skip


TWO = _settings("default", "slow")
OLD = _settings("default", "slow", per_lane=False)


class Source(FileSource):
    """Notes what is read and written; `before` is called before each write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.got: list[str] = []
        self.written: list[str] = []
        self.before: Callable[[str], None] = lambda name: None

    def get(self, name: str) -> str:
        self.got.append(name)
        return super().get(name)

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        self.before(name)
        self.written.append(name)
        return super().put(name, value, replacing=replacing)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "secrets.json")


def _sealed(source: Source, lane: str) -> str:
    """Return what the API seals for a lane now."""
    api = Keyring.read("api", source.get)
    context = Context(
        purpose=Purpose.JOB, task="a.b", job="1" * 32, tenant="2" * 32, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    return seal(b"x", context, recipient=api.recipient("worker", lane), signer=api.signer)


def _opens(source: Source, text: str, lane: str) -> bool:
    """Return whether a worker of a lane that has just read its keys opens it."""
    keyring = Keyring.read("worker", source.get, lane=lane)
    try:
        found = open_envelope(text, keyring=keyring, expect=Expected(purpose=Purpose.JOB), now=1)
    except UnknownKey:
        return False
    return found.plaintext == b"x"


class Needing:
    """A ledger in which jobs need some keys."""

    def __init__(self, *needed: str) -> None:
        self.needed = needed

    def needing(self, key_id: str) -> Any:
        class Usage:
            open = int(key_id in self.needed)
            dead = results = 0

        return Usage


def _ids(source: Source, lane: str | None, state: str, kind: str = "seal") -> list[str]:
    return [
        row["id"] for row in describe_keys(source)
        if (row["role"], row["lane"], row["state"], row["kind"]) == ("worker", lane, state, kind)
    ]  # fmt: skip


# -- new environments ---------------------------------------------------------------------


def test_each_lane_gets_keys_of_its_own_the_public_document_last(source: Source) -> None:
    created = init_keys(TWO, source).created
    assert created == key_documents(TWO)
    assert source.written == list(created)
    assert created[:2] == ("worker/default/keys", "worker/slow/keys")
    assert created[-1] == "shared/keyring"
    assert init_keys(TWO, source).created == ()


def test_a_worker_opens_its_own_lane_s_payloads_alone(source: Source) -> None:
    init_keys(TWO, source)
    for lane in ("default", "slow"):
        text = _sealed(source, lane)
        found = {worker: _opens(source, text, worker) for worker in ("default", "slow")}
        assert found == {worker: worker == lane for worker in ("default", "slow")}


def test_a_worker_reads_no_other_lane_s_document(source: Source) -> None:
    init_keys(TWO, source)
    source.got.clear()
    Keyring.read("worker", source.get, lane="slow")
    assert source.got == ["shared/keyring", "worker/slow/keys"]


def test_another_lane_s_document_in_its_place_is_refused(source: Source) -> None:
    init_keys(TWO, source)
    source.put("worker/slow/keys", source.get("worker/default/keys"))
    with pytest.raises(KeyringInvalid, match="another lane"):
        Keyring.read("worker", source.get, lane="slow")


def test_a_worker_signs_with_its_own_lane_s_key(source: Source) -> None:
    init_keys(TWO, source)
    public = PublicKeyring.load(source.get("shared/keyring"))
    for lane in ("default", "slow"):
        signer = Keyring.read("worker", source.get, lane=lane).signer
        assert public.signer_lane(signer.id) == lane


# -- lanes that come later ----------------------------------------------------------------


def test_a_new_lane_s_first_key_is_asked_for_by_name_and_made_by_a_rotation(
    source: Source,
) -> None:
    init_keys(TWO, source)
    more = _settings("default", "slow", "new")
    assert lanes_without_key(more, source) == ["new"]
    api = Keyring.read("api", source.get)
    with pytest.raises(KeyringInvalid, match="run `sealwax keys rotate --lane new`"):
        api.recipient("worker", "new")
    with pytest.raises(KeyringInvalid, match="run `sealwax keys rotate --lane new`"):
        Keyring.read("worker", source.get, lane="new")
    before = _ids(source, "default", "active")
    source.written.clear()
    assert len(rotate_keys(more, source, "worker", lanes=["new"])) == 2
    assert source.written == ["worker/new/keys", "shared/keyring"]
    assert _opens(source, _sealed(source, "new"), "new")
    assert _ids(source, "default", "active") == before
    assert lanes_without_key(more, source) == []


def test_complete_lanes_makes_what_is_missing_and_replaces_nothing(source: Source) -> None:
    init_keys(TWO, source)
    before = {row["id"] for row in describe_keys(source)}
    more = _settings("default", "slow", "one", "two")
    assert complete_lanes(more, source) == ["one", "two"]
    assert complete_lanes(more, source) == []
    rows = describe_keys(source)
    assert before <= {row["id"] for row in rows}
    assert all(row["state"] == "active" for row in rows)


def test_where_one_key_serves_all_lanes_no_lane_is_without(source: Source) -> None:
    init_keys(OLD, source)
    assert complete_lanes(_settings("default", "slow", "new"), source) == []
    assert _opens(source, _sealed(source, "new"), "new")


def test_a_lane_that_is_not_configured_gets_no_key(source: Source) -> None:
    init_keys(TWO, source)
    source.written.clear()
    with pytest.raises(ConfigurationError, match="nowhere"):
        rotate_keys(TWO, source, "worker", lanes=["nowhere"])
    assert source.written == []


# -- rotation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "rotated"),
    [
        ({}, ["default", "slow"]),
        ({"lanes": ["slow"]}, ["slow"]),
        ({"every_lane": True}, ["default", "slow"]),
    ],
    ids=["those that have keys", "one", "all"],
)
def test_a_rotation_renews_the_lanes_it_names(
    source: Source, options: dict[str, Any], rotated: list[str]
) -> None:
    init_keys(TWO, source)
    texts = {lane: _sealed(source, lane) for lane in ("default", "slow")}
    rotate_keys(TWO, source, "worker", **options)
    for lane, text in texts.items():
        assert len(_ids(source, lane, "open")) == int(lane in rotated)
        assert len(_ids(source, lane, "active")) == 1
        assert _opens(source, text, lane)
        assert _opens(source, _sealed(source, lane), lane)


def test_a_rotation_meanwhile_is_not_lost(source: Source) -> None:
    init_keys(TWO, source)

    def meanwhile(name: str) -> None:
        source.before = lambda name: None
        rotate_keys(TWO, FileSource(source.path), "worker", lanes=["default"])

    source.before = meanwhile
    with pytest.raises(SecretVersionConflict):
        rotate_keys(TWO, source, "worker", lanes=["slow"])
    rotate_keys(TWO, source, "worker", lanes=["slow"])
    for lane in ("default", "slow"):
        assert len(_ids(source, lane, "active")) == 1
        assert _opens(source, _sealed(source, lane), lane)


@pytest.mark.parametrize("at", ["worker/slow/keys", "shared/keyring"])
def test_a_lane_s_first_key_that_was_half_made_breaks_nothing(source: Source, at: str) -> None:
    init_keys(OLD, source)

    def die(name: str) -> None:
        if name == at:
            raise InterruptedError

    source.before = die
    with pytest.raises(InterruptedError):
        rotate_keys(OLD, source, "worker", lanes=["slow"])
    source.before = lambda name: None
    assert _opens(source, _sealed(source, "slow"), "slow")
    rotate_keys(OLD, source, "worker", lanes=["slow"])
    assert _opens(source, _sealed(source, "slow"), "slow")
    assert not _opens(source, _sealed(source, "slow"), "default")


# -- moving an older environment -----------------------------------------------------------


def test_an_environment_that_has_keys_keeps_its_way(source: Source) -> None:
    init_keys(OLD, source)
    assert init_keys(TWO, source).created == ()
    assert describe_keys(source)[-1]["lane"] is None


def test_moving_loses_nothing_that_is_sealed_already(source: Source) -> None:
    init_keys(OLD, source)
    (old,) = _ids(source, None, "active")
    before = _sealed(source, "slow")
    rotate_keys(TWO, source, "worker", every_lane=True)
    assert _ids(source, None, "open") == [old]
    assert _ids(source, None, "active") == []
    for lane in ("default", "slow"):
        assert _opens(source, before, lane)
        after = _sealed(source, lane)
        assert [_opens(source, after, w) for w in ("default", "slow")] == [
            lane == "default", lane == "slow",
        ]  # fmt: skip
    source.got.clear()
    Keyring.read("worker", source.get, lane="slow")
    assert source.got == ["shared/keyring", "worker/keys", "worker/slow/keys"]


def test_a_moved_environment_reads_the_old_document_no_more_once_its_keys_are_retired(
    source: Source,
) -> None:
    init_keys(OLD, source)
    rotate_keys(TWO, source, "worker", every_lane=True)
    old = [*_ids(source, None, "open"), *_ids(source, None, "open", "sign")]
    assert len(old) == 2
    for key_id in old:
        retire_key(source, Needing(), key_id)  # type: ignore[arg-type]
    assert json.loads(source.get("worker/keys"))["hpke"] == []
    source.got.clear()
    Keyring.read("worker", source.get, lane="slow")
    assert source.got == ["shared/keyring", "worker/slow/keys"]


def test_moving_one_lane_leaves_the_others_with_the_key_for_all(source: Source) -> None:
    init_keys(OLD, source)
    rotate_keys(OLD, source, "worker", lanes=["slow"])
    assert len(_ids(source, None, "active")) == 1
    assert not _opens(source, _sealed(source, "slow"), "default")
    assert _opens(source, _sealed(source, "default"), "default")


# -- retirement ----------------------------------------------------------------------------


def test_a_lane_s_key_is_retired_from_its_own_document(source: Source) -> None:
    init_keys(TWO, source)
    text = _sealed(source, "slow")
    rotate_keys(TWO, source, "worker", lanes=["slow"])
    (old,) = _ids(source, "slow", "open")
    source.written.clear()
    retire_key(source, Needing(), old)  # type: ignore[arg-type]
    assert source.written == ["shared/keyring", "worker/slow/keys"]
    assert len(json.loads(source.get("worker/slow/keys"))["hpke"]) == 1
    with pytest.raises(Exception, match="retired"):
        _opens(source, text, "slow")


def test_a_lane_s_key_that_jobs_need_or_that_is_active_is_kept(source: Source) -> None:
    init_keys(TWO, source)
    with pytest.raises(KeyInUse):
        retire_key(source, Needing(), _ids(source, "slow", "active")[0])  # type: ignore[arg-type]
    rotate_keys(TWO, source, "worker", lanes=["slow"])
    (old,) = _ids(source, "slow", "open")
    with pytest.raises(Exception, match="1 open jobs"):
        retire_key(source, Needing(old), old)  # type: ignore[arg-type]
    assert _ids(source, "slow", "open") == [old]


def test_a_key_for_all_lanes_beside_a_lost_keyring_is_not_passed_over(source: Source) -> None:
    """Making lanes' keys then would lose what is sealed to it."""
    init_keys(OLD, source)
    found = json.loads(source.path.read_text())
    source.path.write_text(json.dumps({"worker/keys": found["worker/keys"]}))
    with pytest.raises(KeysExist, match="worker/keys exist"):
        init_keys(TWO, source)
