from __future__ import annotations

import json
import secrets
import time
from typing import Any

import pytest
from support.waiting import wait_for

from sealwax.deadletters import Filter, LetterState, LettersUnreachable, ReplayState, make_letters
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
        self.engine = self.steward()
        self.collection = DeadLetterCollector(settings, self.sqs, self.letters, self.ledger)
        self.ran: list[str] = []
        self.refused: list[str] = []
        self.bodies: list[dict[str, Any]] = []

    def url(self, name: str) -> str:
        return self.sqs.get_queue_url(QueueName=name)["QueueUrl"]

    def steward(self) -> ReplayEngine:
        payloads = PayloadStore(self.aws.client("s3"), self.settings.bucket_name)
        return ReplayEngine(
            self.settings,
            self.sqs,
            self.letters,
            self.ledger,
            lambda: payloads,
            fair_group=lambda tenant: f"fair-{tenant}",
        )

    def die(self, job: str | None = None, **more: Any) -> str:
        """Have a job die and its letter collected."""
        job = job or secrets.token_hex(16)
        self.ledger.accept(
            NewJob(
                id=job, task="webhooks.relay", tenant="t", lane="default", contract=1,
                created=1.0, not_after=2**33, expires=2**33,
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
            return sum(group.open for group in self.letters.groups.list()) == count

        wait_for(collected, seconds=60, what=f"{count} letters are open")

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


def test_a_discard_resolves_letters_and_lets_their_jobs_expire(scene, message):
    job = scene.die()
    scene.bury(message("0" * 31 + "1", reason="malformed", cause=None, body="odd"))
    scene.collect(2)
    replay = scene.drive(scene.plan(verb="discard", reason="obsolete"), ReplayState.DONE)
    assert (replay.sent, replay.waiting) == (2, 0)
    letter = scene.letters.archive.get(f"{job}.0")
    assert (letter.state, letter.note) == (LetterState.DISCARDED, "obsolete")
    entry = scene.ledger.get(job)
    assert entry.state is JobState.DEAD
    assert entry.expires is not None
    assert entry.watch is None
    assert scene.letters.groups.list() == []
    assert sum(group.discarded for group in scene.letters.groups.list(closed=True)) == 2


def test_what_no_job_stands_behind_is_skipped_and_stays_open(scene, message):
    scene.bury(message(reason="unknown-job"))
    scene.bury({**message(reason="malformed", cause=None, body="odd")})
    job = scene.die()
    scene.collect(3)
    replay = scene.drive(scene.plan(), ReplayState.DONE)
    assert (replay.sent, replay.succeeded, replay.skipped) == (1, 1, 2)
    assert scene.ran == [job]
    assert len(scene.letters.archive.page().letters) == 2


NOBODYS = '{"headers": {"id": "JOB"}}'


def test_a_job_that_has_run_by_another_letter_resolves_its_own_and_is_not_sent_again(scene):
    job = scene.die()
    scene.bury(scene.message(job, reason="stray", body=NOBODYS.replace("JOB", job)))
    scene.collect(2)
    own, other = sorted((letter.id for letter in scene.letters.archive.of_job(job)), key=len)
    scene.drive(scene.plan(ids=[other]), ReplayState.DONE)
    scene.drive(scene.plan(ids=[own]), ReplayState.DONE)
    assert scene.ran == [job]
    assert scene.letters.archive.get(own).outcome == "succeeded"


def test_a_job_that_is_under_way_as_a_later_generation_is_skipped(scene):
    job = scene.die()
    scene.collect(1)
    scene.ledger.replay(job, generation=0)
    scene.fail(job, 1)
    scene.ledger.replay(job, generation=1)
    replay = scene.drive(scene.plan(ids=[f"{job}.0"]), ReplayState.DONE)
    assert (replay.sent, replay.skipped, scene.ran) == (0, 1, [])
    assert scene.letters.archive.get(f"{job}.0").state is LetterState.OPEN


def test_the_jobs_own_letter_is_sent_though_another_was_replayed_and_died(scene):
    job = scene.die()
    scene.bury(scene.message(job, reason="stray", body=NOBODYS.replace("JOB", job)))
    scene.collect(2)
    own, other = sorted((letter.id for letter in scene.letters.archive.of_job(job)), key=len)
    scene.drive(scene.plan(ids=[other]), ReplayState.STOPPED, mended=False)
    assert scene.ledger.get(job).state is JobState.DEAD
    replay = scene.drive(scene.plan(ids=[own]), ReplayState.DONE)
    assert (replay.sent, replay.succeeded, replay.skipped) == (1, 1, 0)
    assert scene.ran == [job]
    assert scene.letters.archive.get(own).outcome == "succeeded"


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
    assert scene.aws.calls.total() - before <= 25 + 35
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


def test_a_discard_deletes_the_payload_in_s3_but_never_by_an_unverified_letter(scene, message):
    s3, bucket = scene.aws.client("s3"), scene.settings.bucket_name
    payloads = PayloadStore(s3, bucket)

    def body(job: str, reference: str) -> str:
        return json.dumps(
            {
                "headers": {"id": job, "task": "webhooks.relay"}, "properties": {},
                "content-type": "application/json", "content-encoding": "utf-8",
                "body": json.dumps([[reference], {}, {}]),
            }
        )  # fmt: skip

    def objects() -> int:
        return s3.list_objects_v2(Bucket=bucket)["KeyCount"]

    job, big = secrets.token_hex(16), secrets.token_hex(16)
    reference = payloads.put(job, "sealed")
    payloads.move_to_dead(job, reference)
    scene.die(job, body=body(job, reference))
    scene.die(big, body=body(big, "x" * 70_000))
    # Anybody who can write to the queue can make this one.
    forged = message(job, reason="malformed", cause=None, body=body(job, reference))
    scene.bury(forged)
    scene.collect(3)
    assert objects() == 3  # a payload; a big body and its attributes
    chosen = scene.plan(verb="discard", reason="odd", filter=Filter(reason="malformed"))
    assert scene.drive(chosen, ReplayState.DONE).sent == 1
    assert scene.ledger.get(job).watch == "dead"
    assert objects() == 3
    scene.drive(scene.plan(verb="discard", reason="obsolete"), ReplayState.DONE)
    assert objects() == 0
    assert scene.ledger.get(job).watch is None
