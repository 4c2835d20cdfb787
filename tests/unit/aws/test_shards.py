"""Keys are spread evenly, and more shards read what fewer have written."""

from __future__ import annotations

import secrets
from collections import Counter

import pytest

from sealwax.aws.shards import SHARDS, shard_keys, sharded


@pytest.mark.parametrize("ids", ["random", "counted"])
def test_jobs_are_spread_evenly(ids: str) -> None:
    jobs = [secrets.token_hex(16) if ids == "random" else f"{n:032x}" for n in range(16_000)]
    found = Counter(sharded("open#default", job, SHARDS) for job in jobs)
    assert set(found) == set(shard_keys("open#default", SHARDS))
    assert max(found.values()) < 2_000 * 1.15


@pytest.mark.parametrize(("before", "now"), [(1, 8), (8, 16), (8, 12), (16, 64)])
def test_more_shards_have_the_keys_of_fewer(before: int, now: int) -> None:
    old = {sharded("dead", secrets.token_hex(16), before) for _ in range(1_000)}
    assert old <= set(shard_keys("dead", now))


def test_one_shard_is_the_plain_key() -> None:
    assert sharded("dead", "a" * 32, 1) == "dead"
    assert shard_keys("dead", 1) == ["dead"]
