from __future__ import annotations

import json
import secrets
import time
from dataclasses import replace
from typing import Any

import pytest
from support.letters import EVIDENCE, TENANT, body_of, sealed
from support.waiting import wait_for

from sealwax.aws.shards import SHARDS
from sealwax.deadletters import (
    Filter,
    LetterState,
    LettersUnreachable,
    ReplayState,
    SelectionInvalid,
    make_letters,
)
from sealwax.deadletters.letter import LetterText
from sealwax.keys.provenance import by_record
from sealwax.ledger import Claimed, JobState, Ledger, NewJob
from sealwax.outbox.payloads import PayloadStore
from sealwax.steward.collect import DeadLetterCollector
from sealwax.steward.replay import ReplayEngine


class Always:
    def held(self) -> bool:
        return True


class Killed(Exception):
    pass


class Scene:
    """Dead jobs with letters, a steward's duties turned by hand, and a worker of few words."""

    def __init__(self, settings, aws, message) -> None:
        self.settings, self.aws, self.message = settings, aws, message
        self.sqs = aws.client("sqs")
        self.letters = make_letters(settings, aws)
        self.ledger = Ledger(aws.client("dynamodb"), settings.table_name("jobs"))
        self.queue = self.url(settings.queue_name("default"))
        self.dead = self.url(settings.dead_letter_queue_name("default"))
        self.evidence = by_record(replace(EVIDENCE, fetch=self.fetch, entry=self.ledger.get))
        self.engine = self.steward()
        self.collection = DeadLetterCollector(
            settings, self.sqs, self.letters, self.ledger, self.evidence
        )
        self.ran: list[str] = []
        self.refused: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    def url(self, name: str) -> str:
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def fetch(self, job: str, reference: str) -> str:
        store = PayloadStore(self.aws.client("s3"), self.settings.bucket_name)
        return store.fetch(job, reference)

    def steward(self) -> ReplayEngine:
        payloads = PayloadStore(self.aws.client("s3"), self.settings.bucket_name)
        return ReplayEngine(
            self.settings,
            self.sqs,
            self.letters,
            self.ledger,
            lambda: payloads,
            evidence=self.evidence,
            fair_group=lambda tenant: f"fair-{tenant}",
        )

    def die(
        self, job: str | None = None, *, claim_checks: tuple[str, ...] = (), **more: Any
    ) -> str:
        """Have a job die and its letter collected."""
        job = job or secrets.token_hex(16)
        self.ledger.accept(
            NewJob(
                id=job, task="webhooks.relay", tenant=TENANT, lane="default", contract=1,
                created=1.0, not_after=2**33, expires=2**33, claim_checks=claim_checks,
            )
        )  # fmt: skip
        self.fail(job)
        self.bury(self.message(job, **more))
        return job

    def claim(self, job: str, generation: int) -> str:
        token = secrets.token_hex(4)
        claim = self.ledger.claim(job, token=token, lease=30, generation=generation)
        assert isinstance(claim, Claimed)
        return token

    def fail(self, job: str, generation: int = 0) -> None:
        token = self.claim(job, generation)
        self.ledger.die(job, token=token, reason="rejected", cause="http-400", error="Rejected")

    def bury(self, message: dict[str, Any]) -> None:
        self.sqs.send_message(
            QueueUrl=self.dead,
            MessageBody=message["Body"],
            MessageAttributes=message["MessageAttributes"],
        )

    def collect(self, count: int) -> None:
        def collected() -> bool:
            self.collection.turn(Always())
            groups = self.letters.groups
            found = [*groups.list(), *groups.list(strays=True)]
            return sum(group.open for group in found) == count

        wait_for(collected, seconds=60, what=f"{count} letters and strays are open")

    def work(self, *, mended: bool = True) -> int:
        """Run what is in the queue, by the ledger's rules; return how many messages it was."""
        count = 0
        while True:
            messages = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
            if not messages.get("Messages"):
                return count
            for each in messages["Messages"]:
                count += 1
                body = json.loads(each["Body"])
                self.bodies.append(body)
                self.one(body["headers"]["id"], body["headers"].get("generation", 0), mended)
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=each["ReceiptHandle"])

    def one(self, job: str, generation: int, mended: bool) -> None:
        entry = self.ledger.get(job)
        if entry is None or generation != entry.generation or entry.final:
            self.refused.append(job)
        elif mended:
            token = self.claim(job, generation)
            self.ledger.succeed(job, token=token, result=None)
            self.ran.append(job)
        else:
            self.fail(job, generation)
            self.bury(self.message(job, generation=generation))

    def plan(self, **more: Any) -> str:
        if "ids" not in more:
            more.setdefault("filter", Filter())
        replay = self.letters.replays.plan(actor="me", rate=10_000, **more)
        return self.letters.replays.start(replay.id, actor="me").id

    def drive(self, replay_id: str, *states: ReplayState, mended: bool = True):
        def ended():
            self.engine.turn(Always())
            self.work(mended=mended)
            replay = self.letters.replays.get(replay_id)
            return replay if replay.state in states else None

        return wait_for(ended, seconds=90, what=f"the replay is {states}")


@pytest.fixture
def scene(letter_settings, aws, message) -> Scene:
    return Scene(letter_settings, aws, message)


def test_a_mended_group_is_replayed_by_canary_to_its_end(scene):
    jobs = [scene.die() for _ in range(12)]
    scene.collect(12)
    late_cutoff = scene.plan(canary=(1, 3))
    late = scene.die()
    scene.collect(13)
    replay = scene.drive(late_cutoff, ReplayState.DONE)
    assert (replay.sent, replay.succeeded, replay.died, replay.skipped) == (12, 12, 0, 0)
    assert sorted(scene.ran) == sorted(jobs)  # each once; the late one was not meant
    assert scene.ledger.get(late).state is JobState.DEAD
    (group,) = scene.letters.groups.list()
    assert (group.open, group.replaying, group.resolved) == (1, 0, 12)
    # Identity and envelope stay; the generation is the only change.
    original = json.loads(scene.message(jobs[0])["Body"])
    (again,) = [body for body in scene.bodies if body["headers"]["id"] == jobs[0]]
    assert again.pop("headers") == original.pop("headers") | {"generation": 1}
    assert again == original
    entry = scene.ledger.get(jobs[0])
    assert (entry.generation, entry.attempts, entry.replays) == (1, 1, 1)
    page = scene.letters.archive.of_replay(replay.id, limit=100)
    assert {letter.outcome for letter in page.letters} == {"succeeded"}
    assert scene.letters.replays.active() == ()


def test_a_canary_that_dies_again_stops_the_replay_and_nothing_else_is_sent(scene):
    for _ in range(8):
        scene.die()
    scene.collect(8)
    replay_id = scene.plan()
    replay = scene.drive(replay_id, ReplayState.STOPPED, mended=False)
    assert (replay.sent, replay.died, replay.stopped) == (1, 1, "1 of 1 died again")
    for _ in range(3):
        scene.engine.turn(Always())
    assert scene.work() == 0
    scene.collect(8)  # seven, and the new letter of the one that died again
    generations = sorted(letter.generation for letter in scene.letters.archive.page().letters)
    assert generations == [0] * 7 + [1]
    lines, _ = scene.letters.audit.page()
    assert ("steward", "replay.stop") in {(line.actor, line.verb) for line in lines}
    # Mended and resumed by a person, who forgives what died: it goes on.
    scene.letters.replays.resume(replay_id, actor="me")
    replay = scene.drive(replay_id, ReplayState.DONE)
    assert (replay.sent, replay.died, replay.succeeded) == (8, 1, 7)


@pytest.mark.parametrize("moment", ["accepted", "sent", "recorded"])
def test_killed_at_any_moment_another_steward_goes_on_and_each_job_succeeds_once(
    scene, monkeypatch, moment
):
    jobs = [scene.die() for _ in range(6)]
    scene.collect(6)
    replay_id = scene.plan(canary=(2,))

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    if moment == "accepted":
        monkeypatch.setattr(scene.engine._sending, "send", killed)
    elif moment == "sent":
        monkeypatch.setattr(scene.engine._moves, "sent", killed)
    else:
        whole = scene.engine._moves.sent
        monkeypatch.setattr(scene.engine._moves, "sent", lambda *a, **k: (whole(*a, **k), killed()))
    with pytest.raises(Killed):
        scene.engine.turn(Always())
    scene.engine = scene.steward()
    replay = scene.drive(replay_id, ReplayState.DONE)
    assert (replay.sent, replay.succeeded) == (6, 6)
    assert sorted(scene.ran) == sorted(jobs)
    assert len(scene.refused) in ((1, 2) if moment == "sent" else (0,))


def test_sqs_that_takes_nothing_loses_nothing(scene, monkeypatch):
    scene.die()
    scene.collect(1)
    replay_id = scene.plan()
    with monkeypatch.context() as patched:
        patched.setattr(
            scene.engine._sending._sqs,
            "send_message_batch",
            lambda **call: {"Failed": [{"Id": entry["Id"]} for entry in call["Entries"]]},
        )
        patched.setattr(scene.engine._sending, "_sleep", lambda _: None)
        with pytest.raises(LettersUnreachable):
            scene.engine.turn(Always())
    assert scene.drive(replay_id, ReplayState.DONE).succeeded == 1


def test_paused_and_cancelled_it_sends_nothing_more(scene):
    for _ in range(5):
        scene.die()
    scene.collect(5)
    replay_id = scene.plan(canary=(2,))
    scene.engine.turn(Always())
    scene.letters.replays.pause(replay_id, actor="me")
    scene.work()
    scene.engine.turn(Always())
    scene.engine.turn(Always())
    replay = scene.letters.replays.get(replay_id)
    assert (replay.state, replay.sent, replay.succeeded) == (ReplayState.PAUSED, 2, 2)
    scene.letters.replays.resume(replay_id, actor="me")
    scene.letters.replays.cancel(replay_id, actor="me")
    scene.engine.turn(Always())
    assert scene.work() == 0
    assert scene.letters.groups.list()[0].open == 3


def test_a_discard_resolves_letters_and_lets_their_jobs_expire(scene):
    job = scene.die()
    scene.collect(1)
    replay = scene.drive(scene.plan(verb="discard", reason="obsolete"), ReplayState.DONE)
    assert (replay.sent, replay.waiting) == (1, 0)
    letter = scene.letters.archive.get(f"{job}.0")
    assert (letter.state, letter.note) == (LetterState.DISCARDED, "obsolete")
    entry = scene.ledger.get(job)
    assert entry.state is JobState.DEAD
    assert entry.expires is not None
    assert entry.watch is None
    assert scene.letters.groups.list() == []
    assert sum(group.discarded for group in scene.letters.groups.list(closed=True)) == 1


def stray_of(scene, job: str, body: str = "FORGED") -> str:
    """Bury a stray that bears a job's id; return its letter's id once it is collected."""
    before = {letter.id for letter in scene.letters.archive.claiming(job)}
    scene.bury(scene.message(job, own=False, reason="stray", body=body_of(job, body)))

    def collected() -> set[str]:
        scene.collection.turn(Always())
        return {letter.id for letter in scene.letters.archive.claiming(job)} - before

    (found,) = wait_for(collected, seconds=60, what="the stray is collected")
    return found


def test_strays_are_in_no_replay_and_in_no_discard_of_letters(scene):
    job = scene.die()
    stray = stray_of(scene, job)
    stray_of(scene, "0" * 32)
    scene.collect(3)
    assert scene.letters.replays.preview(actor="me", filter=Filter()).expected == 1
    replay = scene.drive(scene.plan(), ReplayState.DONE)
    assert (replay.sent, replay.succeeded, replay.skipped) == (1, 1, 0)
    discard = scene.drive(scene.plan(verb="discard", reason="all"), ReplayState.DONE)
    assert discard.sent == 0
    assert scene.ran == [job]
    assert scene.letters.archive.get(stray).state is LetterState.OPEN


def test_a_stray_that_is_named_is_still_never_sent(scene):
    job = scene.die()
    stray = stray_of(scene, job)
    group = scene.letters.archive.get(stray).group
    before = scene.ledger.get(job)
    for choice in ({"ids": [stray]}, {"filter": Filter(group=group)}):
        replay = scene.drive(scene.plan(**choice), ReplayState.DONE)
        assert (replay.sent, replay.skipped) == (0, 1)
    with pytest.raises(SelectionInvalid, match="never sent"):
        scene.plan(filter=Filter(reason="stray"))
    assert scene.work() == 0
    assert scene.ledger.get(job) == before
    assert scene.letters.archive.get(stray).state is LetterState.OPEN


@pytest.mark.parametrize("by", ["ids", "filter"])
def test_discarding_strays_touches_no_job_and_no_payload(scene, by):
    s3, bucket = scene.aws.client("s3"), scene.settings.bucket_name
    payloads = PayloadStore(s3, bucket)
    job = secrets.token_hex(16)
    reference = payloads.put(job, sealed(job))
    scene.die(job, claim_checks=(reference,), body=body_of(job, reference))
    stray = stray_of(scene, job, reference + "0")
    before = scene.ledger.get(job)
    choice = {"ids": [stray]} if by == "ids" else {"filter": Filter(reason="stray")}
    replay = scene.drive(scene.plan(verb="discard", reason="odd", **choice), ReplayState.DONE)
    assert replay.sent == 1
    letter = scene.letters.archive.get(stray)
    assert (letter.state, letter.note) == (LetterState.DISCARDED, "odd")
    assert scene.ledger.get(job) == before
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert scene.letters.archive.get(f"{job}.0").state is LetterState.OPEN
    claim = scene.letters.table.get(job, f"claim.{stray}")
    assert claim is not None
    assert claim["expires"] > time.time()


@pytest.mark.parametrize("how", ["forged", "moved", "gone", "another-job"])
def test_a_row_in_the_jobs_place_whose_body_is_not_the_jobs_own_changes_nothing(scene, how):
    """As whoever can write to the archive makes it: the genuine message stays the present one."""
    job, other = scene.die(), secrets.token_hex(16)
    scene.collect(1)
    bodies = {
        "forged": body_of(job, "FORGED"), "moved": body_of(job, sealed(other)),
        "another-job": body_of(other),
    }  # fmt: skip
    letter = scene.letters.archive.get(f"{job}.0")
    if how == "gone":
        scene.letters.archive.erase_body(letter)
    else:
        item = scene.letters.bodies.item(letter, LetterText(bodies[how].encode(), {}, None))
        scene.aws.client("dynamodb").put_item(TableName=scene.letters.table.name, Item=item)
    before = scene.ledger.get(job)
    replay = scene.drive(scene.plan(), ReplayState.DONE)
    assert (replay.sent, replay.skipped) == (0, 1)
    assert scene.work() == 0
    assert scene.ledger.get(job) == before
    # Nor is the job given up by somebody who discards the obvious garbage.
    reference = PayloadStore(scene.aws.client("s3"), scene.settings.bucket_name).put(job, "kept")
    discarded = scene.drive(scene.plan(verb="discard", reason="garbage"), ReplayState.DONE)
    assert discarded.sent == 1
    assert scene.ledger.get(job) == before
    assert scene.fetch(job, reference) == "kept"


def test_a_letter_beside_the_jobs_own_is_sent_while_the_job_is_dead_and_never_again(scene):
    job = scene.die(body=None)
    scene.collect(1)
    again = body_of(job).replace('"properties": {}', '"properties": {"priority": 0}')
    scene.bury(scene.message(job, body=again))
    scene.collect(2)
    (beside,) = [each for each in scene.letters.archive.of_job(job) if each.conflict]
    assert scene.drive(scene.plan(ids=[beside.id]), ReplayState.DONE).succeeded == 1
    assert scene.ran == [job]
    # What has moved on counts as what it is.
    scene.bury(scene.message(job, body=again.replace("0}", "1}")))
    scene.collect(2)
    late = [each for each in scene.letters.archive.of_job(job) if each.conflict]
    (late_id,) = {each.id for each in late} - {beside.id}
    replay = scene.drive(scene.plan(ids=[late_id]), ReplayState.DONE)
    assert (replay.sent, replay.skipped) == (0, 1)
    assert scene.ran == [job]


def test_a_job_that_is_under_way_as_a_later_generation_is_skipped(scene):
    job = scene.die()
    scene.collect(1)
    scene.ledger.replay(job, generation=0)
    scene.fail(job, 1)
    scene.ledger.replay(job, generation=1)
    replay = scene.drive(scene.plan(ids=[f"{job}.0"]), ReplayState.DONE)
    assert (replay.sent, replay.skipped, scene.ran) == (0, 1, [])
    assert scene.letters.archive.get(f"{job}.0").state is LetterState.OPEN


def test_two_overlapping_replays_send_a_letter_once(scene):
    job = scene.die()
    scene.collect(1)
    both = [scene.plan(), scene.plan()]
    ends = [scene.drive(each, ReplayState.DONE) for each in both]
    assert sum(replay.sent for replay in ends) == 1
    assert scene.ran == [job]


def test_chosen_letters_alone_are_replayed(scene):
    jobs = [scene.die() for _ in range(3)]
    scene.collect(3)
    replay = scene.drive(scene.plan(ids=[f"{jobs[1]}.0"]), ReplayState.DONE)
    assert (replay.sent, scene.ran) == (1, [jobs[1]])


def test_a_letter_sent_again_costs_about_one_call_and_waiting_next_to_nothing(scene):
    for _ in range(25):
        scene.die()
    scene.collect(25)
    replay_id = scene.plan(canary=())
    before = scene.aws.calls.total()
    scene.engine.turn(Always())
    assert scene.letters.replays.get(replay_id).sent == 25
    # One update each in the ledger; what else a batch and a turn need is shared.
    assert scene.aws.calls.total() - before <= 25 + 35 + 2 * (SHARDS - 1)
    before = scene.aws.calls.total()
    scene.engine.turn(Always())
    assert scene.aws.calls.total() - before <= 8


def test_a_step_without_an_outcome_stops_the_replay_after_its_time(scene, monkeypatch):
    for _ in range(3):
        scene.die()
    scene.collect(3)
    replay_id = scene.plan(canary=(1,))
    scene.engine.turn(Always())
    now = [time.time() + 3_590]
    monkeypatch.setattr(scene.engine, "_clock", lambda: now[0])
    scene.engine.turn(Always())
    assert scene.letters.replays.get(replay_id).state is ReplayState.RUNNING
    now[0] += 20
    scene.engine.turn(Always())
    replay = scene.letters.replays.get(replay_id)
    assert (replay.state, replay.sent) == (ReplayState.STOPPED, 1)
    assert replay.stopped == "1 of 1 have had no outcome for 3600 s"
    # Whoever resumes it gives the step its time again; an outcome lets it go on.
    scene.letters.replays.resume(replay_id, actor="me")
    monkeypatch.setattr(scene.engine, "_clock", time.time)
    assert scene.drive(replay_id, ReplayState.DONE).succeeded == 3


def test_a_discard_deletes_the_payload_in_s3_of_the_jobs_last_death_alone(scene):
    s3, bucket = scene.aws.client("s3"), scene.settings.bucket_name
    payloads = PayloadStore(s3, bucket)

    def objects() -> int:
        return s3.list_objects_v2(Bucket=bucket)["KeyCount"]

    job, big = secrets.token_hex(16), secrets.token_hex(16)
    reference = payloads.put(job, sealed(job))
    payloads.move_to_dead(job, reference)
    scene.die(job, claim_checks=(reference,), body=body_of(job, reference))
    scene.die(big, body=body_of(big, "x" * 70_000))
    scene.collect(2)
    assert objects() == 3  # a payload; a big body and its attributes
    # It lives again, by whatever word: its payload is needed.
    scene.ledger.replay(job, generation=0)
    living = scene.plan(verb="discard", reason="odd", ids=[f"{job}.0"])
    assert scene.drive(living, ReplayState.DONE).sent == 1
    assert objects() == 3
    assert scene.ledger.get(job).state is JobState.ACCEPTED
    scene.fail(job, 1)
    scene.bury(scene.message(job, generation=1, body=body_of(job, reference, generation=1)))
    scene.collect(2)
    scene.drive(scene.plan(verb="discard", reason="obsolete"), ReplayState.DONE)
    assert objects() == 0
    assert scene.ledger.get(job).watch is None
