"""What a message has been through stays known, by whatever way it goes back to its queue."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import MaxRetriesExceededError, WorkerLostError
from celery.exceptions import Retry as CeleryRetry
from support.one_message import DAY, Worker, World

from sealwax.outcomes import DeadLetter, Reason, Retry
from sealwax.transport.celery.request import Request
from sealwax.transport.celery.retries import marked


@dataclass
class Story:
    """A message, the worker that has it, and what it should have been through."""

    world: World
    worker: Worker
    retries: int = 0
    crashes: int = 0
    receives: int = 1
    not_before: float = 0.0
    #: What its `retries` header says; Celery raises it where it publishes a copy.
    published: int = 0

    def ended(self, request: Request, error: BaseException) -> None:
        """Tell the request what its child says."""
        try:
            raise error  # noqa: TRY301 - for its traceback alone
        except BaseException:  # noqa: BLE001
            request.on_failure(ExceptionInfo())

    def asks_again(self, request: Request, **how: Any) -> bool:
        """Have a started attempt ask for another; False: it may not."""
        task = request.task
        task.push_request(**request.request_dict | {
            "args": request.args, "kwargs": request.kwargs,
            "delivery_info": request.delivery_info, "called_directly": False,
        })  # fmt: skip
        try:
            with pytest.raises((CeleryRetry, MaxRetriesExceededError)) as caught:
                task.retry(**{"countdown": 0, **how})
        finally:
            task.pop_request()
        self.ended(request, marked(caught.value))
        return isinstance(caught.value, CeleryRetry)

    def retry(self, park: Callable[[Any], None] | None = None, **how: Any) -> None:
        """Start the message, and have it ask for another attempt; `park` takes long waits."""
        request = self.worker.start(self.taken())
        self.world.options = replace(self.world.options, park=park)
        assert self.asks_again(request, **how)
        self.world.options = replace(self.world.options, park=None)
        self.retries += 1
        self.not_before = self.world.now + how["countdown"]

    def taken(self) -> Any:
        """Receive the message, and check what it says of itself."""
        message = self.worker.take()
        delivery = message.delivery
        assert delivery is not None
        request = self.worker.request(message)
        assert self.world.now >= self.not_before
        assert message.headers["id"] == message.properties["correlation_id"] == "job"
        assert message.headers["mine"] == "yes"
        assert message.properties["priority"] == 3
        assert delivery.group == "g"
        if not self.published:  # Celery knows nothing of attributes
            assert delivery.attributes == {"colour": {"DataType": "String", "StringValue": "red"}}
        known = (request.request_dict["retries"], delivery.crashes)
        assert known == (self.retries, self.crashes)
        assert delivery.receive_count >= self.receives
        self.receives = delivery.receive_count + 1
        return message


def postpone(story: Story) -> None:
    story.retry(countdown=5)


def other_arguments(story: Story) -> None:
    story.retry(countdown=5, args=[story.retries + 1])
    story.published = story.retries


def beyond_visibility(story: Story) -> None:
    story.retry(countdown=43_201)


def beyond_retention(story: Story) -> None:
    story.retry(countdown=20 * DAY)


def park_a_retry(story: Story) -> None:
    story.retry(countdown=901, park=story.world.parked.append)
    assert story.world.parked
    story.world.send_parked()


def park_a_crash(story: Story) -> None:
    story.worker = story.world.worker()  # the old one's count may be half a minute old
    message = story.taken()
    story.world.park(crowd=60_001)
    crash(story, message)
    assert story.world.parked
    story.world.send_parked()


def park_a_wait(story: Story) -> None:
    message = story.taken()
    story.world.park()
    story.worker.settler.settle(message.delivery_tag, Retry(901))
    assert story.world.parked
    story.world.send_parked()


def refuse_to_park(story: Story) -> None:
    def park(parked: Any) -> None:
        raise ConnectionError

    story.retry(countdown=43_201, park=park)


def wait_for_a_newer_worker(story: Story) -> None:
    story.worker.settler.settle_unknown_task(story.taken().delivery_tag)


def hold_back(story: Story) -> None:
    story.worker.request(story.taken()).give_back(5)


def crash(story: Story, message: Any = None) -> None:
    request = story.worker.start(message or story.taken())
    story.crashes += 1
    story.ended(request, WorkerLostError("signal 9"))


def deploy(story: Story) -> None:
    story.taken()
    story.worker.settler.close()
    story.worker = story.world.worker()


def cut_off(story: Story) -> None:
    story.worker.start(story.taken())
    story.worker.settler.close()  # SIGQUIT, or the end of a SIGTERM's grace
    story.worker = story.world.worker()


def pause(story: Story) -> None:
    story.taken()
    story.worker.settler.cancel(story.world.queue)
    story.worker.settler._wanted.add(story.world.queue)


def redrive(story: Story) -> None:
    letter = DeadLetter(reason=Reason.REJECTED)
    story.worker.settler.settle(story.taken().delivery_tag, letter, recorded=False)
    assert len(story.world.letters) == 1
    assert not story.world.messages
    story.world.redrive()
    # By design it begins anew, as it was sent.
    story.retries, story.crashes = story.published, 0
    story.receives = 1


WAYS = [
    postpone, other_arguments, beyond_visibility, beyond_retention, park_a_retry, park_a_crash,
    park_a_wait, refuse_to_park, wait_for_a_newer_worker, hold_back, crash, deploy, cut_off,
    pause, redrive,
]  # fmt: skip


def begin(
    monkeypatch: pytest.MonkeyPatch, *, max_retries: int = 9, countdown: int = 60, **options: Any
) -> Story:
    world = World(monkeypatch, fair_queues=True, unknown_task_grace=300, **options)

    @world.app.task(name="one", bind=True, max_retries=max_retries, max_crashes=9, shared=False)
    def one(self: Any, *args: Any) -> None:
        """Do nothing: tests say how it ends."""

    properties = {
        "sealwax-group": "g",
        "message_attributes": {"colour": {"DataType": "String", "StringValue": "red"}},
    }
    headers = {"mine": "yes"}
    one.apply_async(
        (0,), task_id="job", countdown=countdown, priority=3, headers=headers, **properties
    )
    story = Story(world, world.worker())
    story.not_before = world.now + countdown
    return story


#: On a FIFO queue nothing is parked, and a process remembers.
FIFO_WAYS = [
    way for way in WAYS if way not in {deploy, cut_off, park_a_retry, park_a_crash, park_a_wait}
]  # fmt: skip


def of_each_pair(ways: list[Callable[[Story], None]], queue: str) -> list[Any]:
    return [
        pytest.param(queue, pair, id="-".join([queue, *(way.__name__ for way in pair)]))
        for pair in (*((way,) for way in ways), *itertools.product(ways, repeat=2))
    ]


@pytest.mark.parametrize(
    ("queue", "ways"), [*of_each_pair(WAYS, "q"), *of_each_pair(FIFO_WAYS, "q.fifo")]
)
def test_what_a_message_has_been_through_is_known_after_each_pair_of_ways(
    monkeypatch: pytest.MonkeyPatch, queue: str, ways: tuple[Callable[[Story], None], ...]
) -> None:
    story = begin(monkeypatch, queue=queue)
    for way in ways:
        way(story)
    story.taken()
    (message,) = story.world.messages
    body = json.loads(message.fields["MessageBody"])
    assert len(body["properties"].get("sealwax-carried", {})) <= 5
    assert not story.world.letters
    assert not story.world.parked


def unknown(story: Story) -> None:
    story.worker.settler.settle_unknown_task(story.taken().delivery_tag)


@pytest.mark.parametrize("queue", ["q", "q.fifo"])
@pytest.mark.parametrize("before", [None, beyond_retention, beyond_visibility, postpone])
def test_an_unknown_task_waits_from_when_it_was_first_unknown(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[Story], None] | None, queue: str
) -> None:
    story = begin(monkeypatch, queue=queue)
    for _ in range(2):
        if before is not None:
            before(story)
        unknown(story)
        since = story.world.now
        while not story.world.letters and story.world.now < since + 260:
            unknown(story)
        assert not story.world.letters
        if before is None:
            break
    while not story.world.letters:
        assert story.world.now < since + 400
        unknown(story)
    assert story.world.now >= since + 300


def run(story: Story, *, seconds: float) -> bool:
    """Receive and start the message on the story's worker; False: it is a letter now."""
    story.world.now += seconds
    opened = story.worker.open(story.worker.receive())
    if opened is None:
        assert len(story.world.letters) == 1
        return False
    story.worker.start(opened)
    return True


def of_two_retries(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Story:
    return begin(monkeypatch, queue="q.fifo", max_retries=2, countdown=0, **options)


@pytest.mark.parametrize("pause", [0.0, 1.0, 3_600.0])
def test_a_rolling_deploy_charges_nothing_on_a_fifo_queue(
    monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    story = of_two_retries(monkeypatch)
    workers = [story.world.worker() for _ in range(5)]
    for worker in workers * 3:
        story.worker = worker
        story.world.now += pause
        story.taken()
        worker.settler.release_all()
    story.worker = workers[0]
    for _ in range(2):
        postpone(story)
    assert len(story.world.messages) == 1
    assert not story.world.letters
    request = story.worker.start(story.taken())
    assert request.request_dict["retries"] == 2


def test_a_fifo_message_that_fails_on_many_workers_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    story = of_two_retries(monkeypatch)
    workers = [story.world.worker() for _ in range(5)]
    attempts = 0
    for worker in workers * 3:
        story.worker = worker
        attempts += 1
        request = worker.start()
        if not story.asks_again(request):
            break
    assert attempts == 11  # two retries on each of five
    (letter,) = story.world.letters
    assert '"exhausted"' in json.dumps(letter).replace("\\", "")


@pytest.mark.parametrize("queue", ["q", "q.fifo"])
@pytest.mark.parametrize("bound", [1, 3, 100])
def test_what_kills_its_whole_worker_each_time_ends_at_the_bound(
    monkeypatch: pytest.MonkeyPatch, queue: str, bound: int
) -> None:
    story = begin(monkeypatch, queue=queue, countdown=0, unproven_receives=bound)
    for _ in range(bound):
        assert run(story, seconds=0)
        story.worker = story.world.worker()  # nothing is left of the one before
    assert not run(story, seconds=0)
    (letter,) = story.world.letters
    assert '"crashed"' in json.dumps(letter).replace("\\", "")
    assert "sealwax-carried" not in letter["MessageBody"]
    assert not story.world.messages


def test_what_came_back_before_its_lease_ended_killed_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = begin(monkeypatch, queue="q.fifo", countdown=0, unproven_receives=2)
    for _ in range(50):
        story.world.now += 1
        story.taken()
        story.worker.settler.release_all()
        story.worker = story.world.worker()
        if story.world.now - story.world.messages[0].first >= 58:
            break
    assert not story.world.letters
