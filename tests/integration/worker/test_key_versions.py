"""Repeats of a request across a rotation of the keys of keyed hashes."""

from __future__ import annotations

import pytest
from support.job_bench import Bench

from sealwax.aws.clients import Aws
from sealwax.keys.hmac import rotate_hmac
from sealwax.outcomes import Ack
from sealwax.producer.submit import IdempotencyConflict
from sealwax.secrets.factory import make_source


def rotate(bench: Bench, *, after: float) -> None:
    source = make_source(bench.settings, Aws())
    text = rotate_hmac(source.get("shared/hmac"), now=bench.clock(), after=after)
    source.put("shared/hmac", text)


def test_a_repeat_after_a_rotation_is_still_the_same_job(bench: Bench) -> None:
    first = bench.submit(idempotency_key="k")
    assert bench.run(first) == Ack()
    rotate(bench, after=60)
    assert bench.api.refresh()
    for _ in range(2):  # the new key known, the new key in use
        assert bench.submit(idempotency_key="k") == first
        with pytest.raises(IdempotencyConflict):
            bench.submit(2, idempotency_key="k")
        bench.clock.now += 61
    assert bench.submit(idempotency_key="other") != first


def test_a_process_that_was_quicker_and_one_that_was_slower_agree(bench: Bench) -> None:
    """One has read the new key and one has not: both still use the old one."""
    slow = bench.api.hashes
    rotate(bench, after=60)
    bench.api.refresh()
    assert bench.api.hashes.job_id("acme", "k") == slow.job_id("acme", "k")
    first = bench.submit(idempotency_key="k")
    bench.clock.now += 61  # by now everybody has read it
    assert bench.api.hashes.job_id("acme", "k") != first
    assert bench.submit(idempotency_key="k") == first


def test_a_follow_up_that_was_enqueued_before_a_rotation_is_not_doubled(bench: Bench) -> None:
    job_id = bench.submit()
    parent = bench.entry(job_id)
    first = bench.follow_up(parent, key="part-1")
    rotate(bench, after=0)
    bench.api.refresh()
    assert bench.follow_up(parent, key="part-1") == first
