"""What each setting does: two values, two behaviours; nothing here needs AWS."""

from __future__ import annotations

import json
import math
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from pydantic import BaseModel
from structlog.testing import capture_logs

from sealwax.aws.clients import Aws
from sealwax.cli import steward as steward_command
from sealwax.deadletters import make_letters
from sealwax.job import Asked, Job
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.lifecycle import init_keys
from sealwax.ledger import JobState, Ledger
from sealwax.local.configuration import curls
from sealwax.outcomes import Retry
from sealwax.producer.celery_app import make_producer
from sealwax.producer.periodic import PeriodicEnqueuer
from sealwax.producer.publish import QueuedJob
from sealwax.producer.submit import PayloadTooLarge, Submitter
from sealwax.runtime import Runtime
from sealwax.secrets import SecretNotFound
from sealwax.secrets.factory import make_source
from sealwax.secrets.source import FileSource
from sealwax.settings import RetryOverride, Settings
from sealwax.steward.duties import make_duties
from sealwax.steward.sweep import SweepDuty
from sealwax.stores import Stores
from sealwax.task_definition import TaskDefinition, task
from sealwax.testing.dynamodb import FakeDynamoDB
from sealwax.transport.pauses import ConsumerPauses
from sealwax.web import jobs
from sealwax.web.admission import Admission
from sealwax.web.console import guard
from sealwax.web.problems import Problem
from sealwax.web.serve import load_factory
from sealwax.web.services import Services, make_services
from sealwax.web.tokens import Principal
from sealwax.worker.app import make_app, worker_arguments
from sealwax.worker.attempt import Attempt, ReceivedJob
from sealwax.worker.heartbeat import WorkerHeartbeat
from sealwax.worker.routes import FIRST_PAUSE, RouteBreakers


class Text(BaseModel):
    text: str = ""


def definition(**options: Any) -> TaskDefinition[Any]:
    @task(name="test.echo", contract=Text, **options)
    def echo(payload: Text, job: Job) -> Text:
        return payload

    return echo


class Secrets(dict[str, str]):
    """Stands for a source of secrets."""

    def get(self, name: str) -> str:  # type: ignore[override]
        if name not in self:
            raise SecretNotFound(name)
        return self[name]

    def version(self, name: str) -> int:
        return int(name in self)

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        self[name] = value
        return 1


class Never:
    """Stands for a client that must not be called."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was called")


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SEALWAX_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "test")


def runtime_of(
    settings: Settings,
    role: Any,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    **options: Any,
) -> Runtime:
    """Return a runtime with keys in memory; `options` are its task's."""
    documents = KeyDocuments.create("x25519", int(time.time())).secrets()
    source = Secrets(documents | {"api/token-key": secrets.token_hex(32)})
    served = {"test.echo": definition(**options)}
    ledger = Ledger(FakeDynamoDB(), "jobs", keep=1_000)
    return Runtime(settings, role, served, source=source, ledger=ledger, monotonic=monotonic)


def worker_options(**settings: Any) -> dict[str, Any]:
    made = Settings(**settings)
    app = make_app(made, {}, runtime_of(made, "worker"), lane="default")
    return dict(app.conf.broker_transport_options) | {
        "prefetch": app.conf.worker_prefetch_multiplier
    }


@pytest.mark.parametrize(
    ("settings", "option", "value"),
    [
        ({"aws": {"connect": 1.5}}, "connect_timeout", 1.5),
        ({"aws": {"read": 7.5}}, "read_timeout", 7.5),
        ({"limits": {"message_bytes": 5_000}}, "message_bytes", 5_000),
        ({"limits": {"unknown_task_seconds": 9}}, "unknown_task_grace", 9),
        ({"limits": {"crashes": 5}}, "crashes", 5),
        ({"counters_seconds": 11}, "counters_every", 11),
        ({"liveness_file": "live.json"}, "liveness_file", "live.json"),
        ({"lanes": {"default": {"lease": 44}}}, "lease", 44),
        ({"lanes": {"default": {"poll": 3}}}, "wait_time", 3),
        ({"lanes": {"default": {"prefetch": 9}}}, "prefetch", 9),
        ({"lanes": {"default": {"fair": True}}}, "fair_queues", True),
        ({"lanes": {"default": {"per_tenant": 3}}}, "per_tenant", 3),
        ({"lanes": {"default": {"per_route": 3}}}, "per_route", 3),
    ],
)
def test_a_worker_consumes_as_the_settings_say(
    settings: dict[str, Any], option: str, value: Any
) -> None:
    assert worker_options(**settings)[option] == value
    assert worker_options()[option] != value


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"lanes": {"default": {"pool": "threads"}}}, "--pool=threads"),
        ({"lanes": {"default": {"concurrency": 7}}}, "--concurrency=7"),
        ({"lanes": {"default": {"queue": "theirs"}}}, "--queues=theirs"),
        ({"log_level": "WARNING"}, "--loglevel=WARNING"),
    ],
)
def test_a_worker_is_started_as_the_settings_say(settings: dict[str, Any], argument: str) -> None:
    assert argument in worker_arguments(Settings(**settings), "default")
    assert argument not in worker_arguments(Settings(), "default")


@pytest.mark.parametrize(("own", "limit"), [(None, 33), (5, 5)])
def test_task_seconds_limit_a_task_without_its_own(own: int | None, limit: int) -> None:
    settings = Settings(limits={"task_seconds": 33})
    runtime = runtime_of(settings, "worker", time_limit=own)
    app = make_app(settings, runtime.definitions, runtime, lane="default")
    assert app.tasks["test.echo"].soft_time_limit == limit


def test_send_seconds_bound_a_send() -> None:
    app = make_producer(Settings(limits={"send_seconds": 1.5}))
    assert app.conf.broker_transport_options["send_timeout"] == 1.5


def test_aws_attempts_bound_a_call() -> None:
    client = Aws(Settings(aws={"attempts": 2, "connect": 1, "read": 4}).aws).client("dynamodb")
    config = client.meta.config
    assert config.retries["total_max_attempts"] == 2
    assert (config.connect_timeout, config.read_timeout) == (1, 4)


def submitter_of(settings: Settings) -> tuple[Submitter, list[QueuedJob]]:
    """Return a submitter with a ledger in memory, and what it publishes."""
    api = runtime_of(settings, "api")
    queue: list[QueuedJob] = []
    publisher: Any = SimpleNamespace(publish=queue.append)
    submitter = make_services(settings, runtime=api, publisher=publisher).submitter
    return submitter, queue


def test_payload_bytes_bound_a_submission() -> None:
    submitter, queue = submitter_of(Settings(limits={"payload_bytes": 1_024}))
    submitter.submit(definition(), {"text": "x" * 900}, tenant="t")
    with pytest.raises(PayloadTooLarge):
        submitter.submit(definition(), {"text": "x" * 1_100}, tenant="t")
    assert len(queue) == 1


def test_max_age_seconds_and_retention_seconds_bound_an_entry() -> None:
    settings = Settings(limits={"max_age_seconds": 100, "retention_seconds": 90_000})
    submitter, _ = submitter_of(settings)
    entry = submitter.submit(definition(), {}, tenant="t").entry
    assert entry.not_after == int(entry.created + 100)
    assert entry.expires == int(entry.created + 90_100)


def services_of(**settings: Any) -> Services:
    made = Settings(**settings)
    return make_services(made, runtime=runtime_of(made, "api"), publisher=Never())


def test_requests_per_second_and_request_burst_limit_a_tenant() -> None:
    limiter = services_of(limits={"requests_per_second": 0.001, "request_burst": 2}).limiter
    assert [limiter.take("t") is None for _ in range(3)] == [True, True, False]
    free = services_of(limits={"requests_per_second": 0, "request_burst": 1}).limiter
    assert [free.take("t") for _ in range(3)] == [None] * 3


def test_who_is_over_a_limit_waits_before_anything_is_read() -> None:
    services = services_of(limits={"requests_per_second": 0.1, "request_burst": 1})
    token = "swx_" + "a" * 43
    who = Principal(id="i", tenant="t", scopes=("jobs:submit",))
    assert services.waits(f"Bearer {token}") is None
    services.limiter.take("t")
    assert services.waits(f"Bearer {token}") is None  # whose it is is not known yet
    services.tokens._remember(services.tokens.digest(token), math.inf, who)
    assert services.waits(f"bearer  {token}") == 10
    assert services.waits(f"Basic {token}") is None
    assert services.waits("") is None

    services = services_of(limits={"requests_per_second": 0, "tenant_requests": 1})
    services.tokens._remember(services.tokens.digest(token), math.inf, who)
    assert services.under_way.enter("other")
    assert services.under_way.enter("t")
    assert services.waits(f"Bearer {token}") == 1
    services.under_way.leave("t")
    assert services.waits(f"Bearer {token}") is None


def test_unknown_tokens_per_second_are_how_often_strangers_are_looked_up() -> None:
    for rate in (1, 3):
        store = services_of(limits={"unknown_tokens_per_second": rate}).tokens
        taken = [store._strangers.take("192.0.2.1") for _ in range(10 * rate)]
        assert taken == [None] * 10 * rate
        assert store._strangers.wait("192.0.2.1") == 1


def test_token_cache_seconds_bound_how_long_a_look_up_is_believed() -> None:
    assert services_of(limits={"token_cache_seconds": 0}).tokens._cache_seconds == 0
    assert services_of(limits={"token_cache_seconds": 7}).tokens._cache_seconds == 7


@pytest.mark.parametrize(("delay", "problem"), [(50, None), (51, "/delay")])
def test_delay_seconds_bound_a_delay(delay: int, problem: str | None) -> None:
    settings = Settings(limits={"delay_seconds": 50})
    app = Flask("test")
    app.extensions["sealwax"] = SimpleNamespace(
        settings=settings, definitions={"test.echo": definition()}
    )
    body = {"task": "test.echo", "payload": {}, "delay": delay}
    with app.test_request_context():
        if problem is None:
            assert jobs._read_request(body)[2] == {"delay": delay}
        else:
            with pytest.raises(Problem) as refused:
                jobs._read_request(body)
            assert [error["pointer"] for error in refused.value.members["errors"]] == [problem]


def test_max_wait_closes_a_lane() -> None:
    entry = SimpleNamespace(since=0.0, state=JobState.ACCEPTED)
    page = SimpleNamespace(entries=[entry], after=None)
    ledger: Any = SimpleNamespace(watching=lambda *_, **__: page)

    def refused(max_wait: float | None) -> int | None:
        settings = Settings(lanes={"default": {"max_wait": max_wait}})
        return Admission(settings, ledger, clock=lambda: 60.0).refused("default")

    assert refused(59.0) is not None
    assert refused(61.0) is None
    assert refused(None) is None


@pytest.mark.parametrize(("url", "secure"), [("https://x.example", True), ("http://x", False)])
def test_public_url_makes_cookies_secure(url: str, secure: bool) -> None:
    app = Flask("test")
    app.extensions["sealwax"] = SimpleNamespace(settings=Settings(public_url=url))
    with app.test_request_context():
        assert guard.secure() is secure
    # A site behind TLS that says nothing of itself is known by its load balancer.
    app.extensions["sealwax"] = SimpleNamespace(settings=Settings())
    with app.test_request_context(headers={"X-Forwarded-Proto": "https"}):
        assert guard.secure() is True


def test_secrets_file_takes_the_place_of_credstash(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    assert isinstance(make_source(Settings(secrets_file=file), Never()), FileSource)
    assert not isinstance(make_source(Settings(), Aws()), FileSource)


def test_secrets_refresh_seconds_are_the_age_at_which_secrets_are_read_again() -> None:
    now = [0.0]
    settings = Settings(secrets_refresh_seconds=50)
    runtime = runtime_of(settings, "worker", monotonic=lambda: now[0])
    now[0] = 49.0
    assert not runtime.refresh_if_old()
    now[0] = 51.0
    assert runtime.refresh_if_old()


def test_report_seconds_pass_between_two_heartbeats() -> None:
    waits: list[float] = []
    settings = Settings(report_seconds=3)
    heartbeat = WorkerHeartbeat(
        Never(), settings, "default", ConsumerPauses(), concurrency=1, version="1"
    )
    stop: Any = SimpleNamespace(wait=lambda seconds: waits.append(seconds) or True)
    heartbeat._stop = stop
    heartbeat._run()
    assert waits == [3]


def test_audit_retention_seconds_bound_how_long_a_line_is_kept() -> None:
    settings = Settings(limits={"audit_retention_seconds": 86_401})
    written: list[dict[str, Any]] = []
    dynamodb = SimpleNamespace(
        get_item=lambda **more: {},
        transact_write_items=lambda TransactItems: written.extend(  # noqa: N803 - boto3's
            each["Put"]["Item"] for each in TransactItems
        ),
    )
    aws: Any = SimpleNamespace(client=lambda service: dynamodb)
    audit = make_letters(settings, aws, clock=lambda: 1_000_000.0).audit
    audit.record(actor="me", verb="lanes.pause", target="default")
    assert int(written[0]["expires"]["N"]) == 1_000_000 + 86_401


def test_the_stewards_duties_take_their_times_from_the_settings() -> None:
    settings = Settings(
        steward={"sweep_every": 77, "sweep_after": 88, "step_seconds": 99},
        limits={"letter_retention_seconds": 61},
    )
    duties = {duty.name: duty for duty in make_duties(runtime_of(settings, "steward"))}
    sweep: Any = duties["sweep.0"]
    assert isinstance(sweep, SweepDuty)
    assert (sweep.every, sweep._sweep._after) == (77, 88)
    replay: Any = duties["letters-replay"]
    assert (replay._step_seconds, replay._moves._keep) == (99, 61)


@pytest.mark.parametrize(("waited", "waits"), [(9.0, True), (11.0, False)])
def test_unknown_key_seconds_are_the_time_a_rotation_has_to_arrive(
    waited: float, waits: bool
) -> None:
    settings = Settings(limits={"unknown_key_seconds": 10})
    # Two sets of keys: what the one seals, the other does not know.
    submitter, queue = submitter_of(settings)
    worker = runtime_of(settings, "worker")
    submitter.submit(definition(), {}, tenant="t")
    received = ReceivedJob(
        job_id=queue[0].job_id,
        task="test.echo",
        envelope=queue[0].envelope,
        token="1" * 32,
        first_received_at=time.time() - waited,
    )
    ended = Attempt(worker, definition(), received, lease=60).run()
    assert isinstance(ended, Retry) is waits


def test_each_retry_override_changes_the_policy() -> None:
    changes = {"attempts": 3, "base": 7.0, "cap": 70.0, "max_age": 77.0}
    assert set(changes) == set(RetryOverride.model_fields)
    own = definition()
    for name, value in changes.items():
        changed = own.policy(Settings(retry={"test.echo": {name: value}}))
        assert changed == replace(own.policy(Settings()), **{name: value})


class _Memory:
    """Stands for the control table's ticks: the first claim of each wins."""

    def __init__(self) -> None:
        self.claimed: set[tuple[str, int]] = set()

    def see(self, schedule: str) -> None:
        del schedule

    def claim(self, name: str, tick: int) -> bool:
        new = (name, tick) not in self.claimed
        self.claimed.add((name, tick))
        return new

    def done(self, name: str, tick: int) -> None:
        pass


def test_a_schedule_fires_its_task_and_payload_for_its_tenant() -> None:
    schedule = {"task": "test.echo", "payload": {"text": "hi"}, "tenant": "acme", "every": 60}
    settings = Settings(schedules={"often": schedule})
    fired: list[Any] = []

    def submit(served: Any, payload: Any, *, tenant: str, **more: Any) -> Any:
        fired.append((served.name, payload, tenant))
        return SimpleNamespace(entry=SimpleNamespace(id="1"))

    now = [6_000.0]
    submitter: Any = SimpleNamespace(submit=submit)
    enqueuer = PeriodicEnqueuer(runtime_of(settings, "api"), submitter, clock=lambda: now[0])
    ticks: Any = _Memory()
    enqueuer._ticks = ticks
    assert enqueuer.turn() == 1
    assert fired == [("test.echo", {"text": "hi"}, "acme")]


def test_the_demo_is_the_job_that_can_be_pasted() -> None:
    demo = Settings(demo={"task": "test.echo", "payload": {"text": "hi"}}).demo
    assert demo is not None
    (line,) = curls(api_url="http://x", token="t", demo=demo, job_id=None)
    assert json.dumps({"task": "test.echo", "payload": {"text": "hi"}}) in line


def test_app_names_the_application() -> None:
    assert load_factory(Settings(app="json:dumps")) is json.dumps
    assert load_factory(Settings()) is not json.dumps


def test_steward_lease_is_the_leases_length(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    class Ended(Exception):
        pass

    def leases(*_: Any, seconds: float, **__: Any) -> None:
        made.append(seconds)
        raise Ended

    settings = Settings(steward={"lease": 42})
    monkeypatch.setattr(steward_command, "load_settings", lambda: settings)
    monkeypatch.setattr(
        steward_command, "Runtime", lambda *_, **__: runtime_of(settings, "steward")
    )
    monkeypatch.setattr(steward_command, "configure_logging", lambda *_: None)
    monkeypatch.setattr("sealwax.steward.leadership.LeaderLeases", leases)
    with pytest.raises(Ended):
        steward_command.steward.callback()  # type: ignore[misc]
    assert made == [42]


def test_bucket_takes_the_default_ones_place() -> None:
    stored = []
    s3 = SimpleNamespace(put_object=lambda **more: stored.append(more["Bucket"]) or {})
    aws: Any = SimpleNamespace(client=lambda service, **more: s3)
    for settings in (Settings(bucket="their-bucket"), Settings()):
        Stores(settings, aws=aws).payloads.put("1" * 32, "an envelope")
    assert stored == ["their-bucket", "sealwax-local-payloads"]


def test_the_api_says_at_its_start_which_lane_has_no_key_and_what_to_run() -> None:
    settings = Settings(suite="x25519", lanes={"default": {}, "new": {}})
    source = Secrets(KeyDocuments.create("x25519", 1, ["default"]).secrets())
    ledger = Ledger(FakeDynamoDB(), "jobs", keep=1_000)
    runtime = Runtime(settings, "api", {}, source=source, ledger=ledger)
    with capture_logs() as logs:
        make_services(settings, runtime=runtime, publisher=Never())
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert line["name"] == "worker, lane new"
    assert "sealwax keys rotate --lane new" in line["remedy"]


@pytest.mark.parametrize(
    ("per_lane", "made"),
    [(True, ["worker/default/keys", "worker/slow/keys"]), (False, ["worker/keys"])],
)
def test_per_lane_gives_each_lane_keys_of_its_own(
    tmp_path: Path, per_lane: bool, made: list[str]
) -> None:
    settings = Settings(
        suite="x25519", lanes={"slow": {}, "default": {}}, keys={"per_lane": per_lane}
    )
    created = init_keys(settings, FileSource(tmp_path / "secrets.json")).created
    assert [name for name in created if name.startswith("worker/")] == made


def test_suite_is_that_of_new_keys() -> None:
    found = {}
    for suite in ("x25519", "x-wing"):
        source = Secrets()
        init_keys(Settings(suite=suite), source)
        found[suite] = source["shared/keyring"]
        assert suite in found[suite]
    assert "x-wing" not in found["x25519"]


def test_a_workers_breakers_are_as_the_settings_say() -> None:
    for failures, longest in ((2, 7.0), (3, 1.0)):
        limits = {"route_failures": failures, "route_pause_seconds": longest}
        routes = RouteBreakers.make(Settings(limits=limits))
        for _ in range(failures):
            assert routes.closed() == []
            routes.leave("t", Asked("h", "m"), "a", answer="none")
        (closed,) = routes.closed()
        assert min(longest, FIRST_PAUSE) - 1 < closed.seconds <= min(longest, FIRST_PAUSE)
