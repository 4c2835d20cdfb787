"""Keyed hashes: stable, apart from each other, recognised after rotation."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwax.keys.hmac import KeyedHashes, KeyedHashesInvalid, TokenDigest, rotate_hmac

OLD = {"version": 1, "key": "11" * 32, "state": "active"}
NEW = {"version": 2, "key": "22" * 32, "state": "active"}


def _digests(*keys: dict[str, object]) -> KeyedHashes:
    return KeyedHashes.load(json.dumps({"tenant": "33" * 32, "keys": list(keys)}))


BEFORE = _digests(OLD)
AFTER = _digests(OLD | {"state": "open"}, NEW)


def test_tenants_and_groups_keep_their_names_through_rotation() -> None:
    assert BEFORE.tenant_ref("acme") == AFTER.tenant_ref("acme")
    assert BEFORE.group("acme", "k") == AFTER.group("acme", "k")
    assert BEFORE.fair_group("acme") == AFTER.fair_group("acme")
    assert len(BEFORE.tenant_ref("acme")) == 32


def test_job_ids_of_older_keys_are_candidates_newest_first() -> None:
    assert AFTER.job_id_candidates("acme", "k") == [
        AFTER.job_id("acme", "k"),
        BEFORE.job_id("acme", "k"),
    ]
    assert AFTER.job_id("acme", "k") != BEFORE.job_id("acme", "k")


def test_the_names_of_a_request_are_those_that_each_hash_gives_alone() -> None:
    names = AFTER.names("acme", "t", {"a": 1}, idempotency_key="k")
    assert names.tenant == AFTER.tenant_ref("acme")
    assert names.group == AFTER.fair_group(names.tenant)
    assert names.job_ids == AFTER.job_id_candidates("acme", "k")
    assert names.fingerprint == AFTER.fingerprint("acme", "t", {"a": 1})
    without = AFTER.names("acme", "t", {"a": 1}, idempotency_key=None)
    assert (without.tenant, without.group) == (names.tenant, names.group)
    assert (without.job_ids, without.fingerprint) == ([], None)


def test_fingerprints_of_older_keys_still_match() -> None:
    stored = BEFORE.fingerprint("acme", "t", {"a": 1})
    assert stored.startswith("v1:")
    assert AFTER.fingerprint_matches(stored, "acme", "t", {"a": 1})
    assert not AFTER.fingerprint_matches(stored, "acme", "t", {"a": 2})
    assert not BEFORE.fingerprint_matches(
        AFTER.fingerprint("acme", "t", {"a": 1}), "acme", "t", {"a": 1}
    )


@given(
    st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.lists(st.floats(0, 1)))),
)
@settings(deadline=None)
def test_member_order_does_not_matter(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert BEFORE.fingerprint("a", "t", value) == BEFORE.fingerprint("a", "t", turned)


@given(st.text(), st.text(), st.text(), st.text())
@settings(deadline=None)
def test_no_two_pairs_share_a_job_id(a: str, b: str, c: str, d: str) -> None:
    assert (BEFORE.job_id(a, b) == BEFORE.job_id(c, d)) == ((a, b) == (c, d))


def test_each_use_has_its_own_domain() -> None:
    found = {
        BEFORE.tenant_ref("x"),
        BEFORE.fair_group("x"),
        BEFORE.group("x", ""),
        BEFORE.job_id("x", ""),
    }
    assert len(found) == 4


@pytest.mark.parametrize("stored", ["", "v", "v9:00", "x1:00", "v1", "v²:00"])
def test_what_is_no_fingerprint_matches_nothing(stored: str) -> None:
    assert not AFTER.fingerprint_matches(stored, "acme", "t", {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        json.dumps({"tenant": "33" * 32, "keys": []}),
        json.dumps({"tenant": "33" * 32, "keys": [OLD, NEW]}),
        json.dumps({"tenant": "3" * 63, "keys": [OLD]}),
        json.dumps({"tenant": "33" * 32, "keys": [OLD | {"state": "open"}]}),
    ],
)
def test_malformed_keys_are_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyedHashesInvalid) as caught:
        KeyedHashes.load(text)
    assert "1111" not in str(caught.value)


def test_tokens_are_hashed_under_their_key_only() -> None:
    one, two = TokenDigest.load("aa" * 32), TokenDigest.load("bb" * 32)
    assert one.digest("t") != two.digest("t")
    assert len(one.digest("t")) == 64
    assert "aa" not in repr(one)
    for wrong in ("", "aa" * 31, "zz" * 32):
        with pytest.raises(KeyedHashesInvalid):
            TokenDigest.load(wrong)


def test_a_rotated_secret_keeps_tenants_and_recognises_older_hashes() -> None:
    text = json.dumps({"tenant": "33" * 32, "keys": [OLD]})
    once = rotate_hmac(text, now=1_000, after=60)
    twice = KeyedHashes.load(rotate_hmac(once, now=1_060, after=60), clock=lambda: 1_120.0)
    assert twice.tenant_ref("acme") == BEFORE.tenant_ref("acme")
    assert twice.job_id_candidates("acme", "k")[-1] == BEFORE.job_id("acme", "k")
    assert len(set(twice.job_id_candidates("acme", "k"))) == 3
    assert twice.fingerprint("a", "t", 1).startswith("v3:")
    assert twice.fingerprint_matches(BEFORE.fingerprint("a", "t", 1), "a", "t", 1)
    with pytest.raises(KeyedHashesInvalid):
        rotate_hmac("{}", now=0, after=0)


def test_a_new_key_is_known_before_it_is_used() -> None:
    now = [1_000.0]
    text = json.dumps({"tenant": "33" * 32, "keys": [OLD]})
    rotated = rotate_hmac(text, now=now[0], after=60)
    digests = KeyedHashes.load(rotated, clock=lambda: now[0])
    before = digests.job_id_candidates("acme", "k")
    assert before[0] == BEFORE.job_id("acme", "k")
    with pytest.raises(KeyedHashesInvalid, match="not over"):
        rotate_hmac(rotated, now=now[0] + 59, after=60)
    now[0] += 60
    after = digests.job_id_candidates("acme", "k")
    assert after == before[::-1]
    assert digests.fingerprint("a", "t", 1).startswith("v2:")
