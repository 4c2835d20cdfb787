"""Which of a replayed job's messages may run."""

from __future__ import annotations

from support.job_bench import Bench, Number

from sealwax.job import Job
from sealwax.ledger import JobState
from sealwax.outcomes import Ack, DeadLetter, Rejected


def refuse(payload: Number, job: Job):
    raise Rejected("no")


def killed_and_replayed(bench: Bench) -> str:
    well, bench.does[0] = bench.does[0], refuse
    job_id = bench.submit()
    assert isinstance(bench.run(job_id), DeadLetter)
    bench.does[0] = well
    assert bench.worker.ledger.replay(job_id, generation=0)
    return job_id


def test_a_message_older_than_the_replay_is_acknowledged_and_does_not_run(bench: Bench) -> None:
    job_id = killed_and_replayed(bench)
    assert bench.run(job_id) == Ack()
    assert bench.entry(job_id).state is JobState.ACCEPTED


def test_the_replays_own_message_runs(bench: Bench) -> None:
    job_id = killed_and_replayed(bench)
    assert bench.run(job_id, generation=1) == Ack()
    entry = bench.entry(job_id)
    assert (entry.state, entry.attempts) == (JobState.SUCCEEDED, 1)


def test_a_message_of_a_generation_that_nobody_made_is_dead_lettered_alone(bench: Bench) -> None:
    job_id = killed_and_replayed(bench)
    letter = bench.run(job_id, generation=2)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.cause) == ("stray", "generation")
    assert bench.entry(job_id).state is JobState.ACCEPTED


def test_the_age_of_a_replayed_job_counts_from_its_replay(bench: Bench) -> None:
    job_id = killed_and_replayed(bench)
    bench.worker.ledger.claim(job_id, token="t", lease=30, generation=1)
    bench.worker.ledger.die(job_id, token="t", reason="exhausted", cause="x", error="E")
    bench.clock.now += bench.settings.limits.max_age_seconds * 3
    assert bench.worker.ledger.replay(job_id, generation=1)
    assert bench.run(job_id, generation=2) == Ack()
    assert bench.entry(job_id).state is JobState.SUCCEEDED
