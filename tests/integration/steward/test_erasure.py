"""Erasure by job and by tenant: nothing is left, nothing runs, and it is on record."""

from __future__ import annotations

import time

import pytest
from click.testing import CliRunner
from support.letters import TENANT
from support.steward_parts import Parts

from sealwax.cli import cli
from sealwax.deadletters.errors import NoSuchLetter
from sealwax.keys.lifecycle import init_keys
from sealwax.ledger import JobState, Refused
from sealwax.outbox.payloads import PayloadStore
from sealwax.outbox.store import Item
from sealwax.secrets.factory import make_source


@pytest.fixture
def parts(provisioned, aws):
    return Parts(provisioned, aws)


@pytest.fixture
def payloads(provisioned, aws) -> PayloadStore:
    return PayloadStore(aws.client("s3"), provisioned.bucket_name)


def erase(*arguments: str):
    return CliRunner().invoke(cli, ["jobs", "erase", *arguments])


def test_a_jobs_traces_are_told_then_erased_and_it_never_runs(parts, payloads):
    job = parts.job("a", age=60)
    parts.letter(job, "exhausted")
    stray = parts.letter(job, "stray", body=parts.body(job) + " ")  # it may hold a copy
    parts.outbox.put(Item(id=f"{job}#0", due=time.time() + 9_000, queue=parts.queue, body="x"))
    payloads.put(job, "an envelope")

    told = erase("--job", job)
    assert told.exit_code == 0, told.output
    assert "2 letters, 1 payloads, 1 in the outbox" in told.output
    assert parts.ledger.get(job).state is JobState.ACCEPTED
    assert parts.outbox.get(f"{job}#0") is not None
    assert erase("--job", job, "--yes").exit_code == 2  # no reason

    assert erase("--job", job, "--yes", "--why", "request 17").exit_code == 0
    entry = parts.ledger.get(job)
    assert (entry.state, entry.tenant, entry.watch) == (JobState.CANCELLED, "erased", None)
    assert entry.expires > time.time() + 14 * 86_400
    assert parts.outbox.get(f"{job}#0") is None
    assert payloads.objects(job) == []
    (letter,) = parts.letters.archive.of_job(job)
    for kept in (letter.id, stray):
        with pytest.raises(NoSuchLetter):
            parts.letters.archive.body(kept)
    assert isinstance(parts.ledger.claim(job, token="t", lease=30), Refused)
    assert erase("--job", job, "--yes", "--why", "again").exit_code == 0


def test_a_tenants_jobs_are_erased_but_one_that_runs(parts, aws):
    init_keys(parts.settings, make_source(parts.settings, aws))
    from sealwax.keys.hmac import KeyedHashes

    reference = KeyedHashes.load(make_source(parts.settings, aws).get("shared/hmac")).tenant_ref(
        "acme"
    )
    mine = [parts.job(digit, age=60, tenant=reference) for digit in "123"]
    other = parts.job("4", age=60)
    parts.ledger.claim(mine[0], token="t", lease=60)
    parts.ledger.claim(mine[1], token="t", lease=60)
    parts.ledger.succeed(mine[1], token="t", result="sealed")

    done = erase("--tenant", "acme", "--yes", "--why", "they left")
    assert done.exit_code == 1, done.output
    assert "2 erased" in done.output
    assert parts.ledger.get(mine[0]).state is JobState.RUNNING
    ended = parts.ledger.get(mine[1])
    assert (ended.state, ended.result, ended.tenant) == (JobState.SUCCEEDED, None, "erased")
    assert parts.ledger.get(mine[2]).state is JobState.CANCELLED
    assert parts.ledger.get(other).tenant == TENANT
    (line,) = [
        each for each in parts.letters.audit.page(limit=50)[0] if each.verb == "tenant.erase"
    ]
    assert (line.target, line.count, line.reason) == (reference, 3, "they left")
