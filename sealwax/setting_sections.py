"""Sections of the settings: what each part of a service may be told, with bounds and units.

Each is one table of sealwax.toml; `sealwax.settings` puts them together, names
resources by them, and reads them. Checks that look at several sections are there.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sealwax.aws.shards import SHARDS, SHARDS_MAX

__all__ = [
    "Demo",
    "KeySettings",
    "Lane",
    "LedgerSettings",
    "Limits",
    "RetryOverride",
    "RevealMode",
    "RevealSettings",
    "StewardSettings",
    "WebSettings",
]


class Lane(BaseModel):
    """A queue with its dead-letter queue, its worker service and its limits."""

    model_config = ConfigDict(extra="forbid")

    queue: str | None = Field(
        None, description="SQS queue name; default `<prefix>_<lane>`. FIFO queues end in `.fifo`."
    )
    pool: Literal["prefork", "threads", "solo"] = Field(
        "prefork",
        description="How a worker runs tasks; only `prefork` has time limits and survives a crash "
        "of a task.",
    )
    concurrency: int = Field(2, ge=1, le=256, description="Tasks run at once by one worker.")
    prefetch: int = Field(
        4,
        ge=1,
        le=100,
        description="Messages a worker holds for each task it runs at once. More make fuller "
        "batches, fewer leave more to idle workers: 1 for tasks of minutes.",
    )
    per_tenant: int | None = Field(
        None,
        ge=0,
        le=256,
        description="Jobs of one tenant that a worker runs at once; what exceeds it waits, or goes "
        "back to the queue uncharged. 0: no limit. Default: half of `concurrency`, rounded up, "
        "while a job of another tenant has come within 10 minutes.",
    )
    per_route: int = Field(
        0,
        ge=0,
        le=256,
        description="Jobs of one task, and so at what it calls, that a worker runs at once; what "
        "exceeds it waits as with `per_tenant`. 0: no limit.",
    )
    fair: bool = Field(
        default=False,
        description="Fair queue: SQS lets no tenant's backlog delay the others'. Standard queues.",
    )
    max_wait: float | None = Field(
        None,
        gt=0,
        description="Seconds; submissions get 503 while a job has waited longer than this for its "
        "first attempt. Default: never.",
    )
    poll: int = Field(
        20,
        ge=1,
        le=20,
        description="Seconds a receive waits for messages. What a poll brings after its worker "
        "has ended is visible again when the lease ends; less costs more calls when idle.",
    )
    lease: int = Field(
        30,
        ge=2,
        le=43_200,
        description="Seconds a held message stays invisible; renewed while its worker lives.",
    )


class Limits(BaseModel):
    """Every size, time and count that bounds one request or one job."""

    model_config = ConfigDict(extra="forbid")

    request_bytes: int = Field(
        1_048_576,
        ge=1_024,
        le=34_000_000,
        description="Largest accepted request body, in bytes; a task may declare more "
        "(`max_payload`), and such are taken one at a time.",
    )
    large_wait: float = Field(
        2,
        ge=0,
        le=30,
        description="Seconds a body over `request_bytes` waits for another one, then 503.",
    )
    json_values: int = Field(
        100_000,
        ge=100,
        le=10_000_000,
        description="Values of a request body or payload, containers included, counted before "
        "they are made; one costs up to 250 bytes of memory.",
    )
    json_keys: int = Field(
        50_000,
        ge=100,
        le=10_000_000,
        description="Names of members in a request body or payload; one costs up to 300 bytes "
        "of memory.",
    )
    json_depth: int = Field(
        64,
        ge=4,
        le=100,
        description="Levels of nesting of a request body or payload; 100 bytes or so a level.",
    )
    route_failures: int = Field(
        5,
        ge=0,
        le=1_000,
        description="Requests in a row without an answer from a host, or with 429 or 5xx from a "
        "path, after which a worker asks only now and then and postpones the jobs, uncharged. "
        "0: never.",
    )
    route_pause_seconds: float = Field(
        120,
        ge=1,
        le=900,
        description="Seconds between two such tries at most.",
    )
    payload_bytes: int = Field(
        33_554_432,
        ge=1_024,
        le=33_554_432,
        description="Largest payload, in bytes of JSON; above `message_bytes` it goes through S3.",
    )
    message_bytes: int = Field(
        262_144,
        ge=1_024,
        # SQS takes 1,048,576; a dead letter is the message and what is said of it.
        le=1_040_384,
        description="Largest SQS message, in bytes; a larger one becomes a claim check in S3.",
    )
    result_bytes: int = Field(
        65_536,
        ge=0,
        # A DynamoDB item holds 409,600 bytes, and sealing makes four of three.
        le=262_144,
        description="Largest result kept, in bytes before sealing; a larger one is left out and "
        "the job succeeds.",
    )
    task_seconds: int = Field(
        900,
        ge=1,
        le=41_400,
        description="Seconds an attempt of a task without its own `time_limit` may take; it is "
        "killed 10 s later.",
    )
    max_age_seconds: int = Field(
        4 * 86_400, ge=60, le=10 * 86_400, description="Seconds; no attempt of an older job starts."
    )
    retention_seconds: int = Field(
        14 * 86_400,
        # The last attempt may begin at the job's greatest age and take 41,410 s, and what it
        # held is seen again 43,200 s later at most: DynamoDB must not delete its entry.
        ge=86_400,
        description="Seconds a finished job stays in the ledger after `max_age_seconds`; longer "
        "than the longest attempt and lease together.",
    )
    letter_retention_seconds: int = Field(
        30 * 86_400,
        ge=60,
        description="Seconds a dead letter stays once it is resolved; open ones stay.",
    )
    audit_retention_seconds: int = Field(
        400 * 86_400, ge=86_400, description="Seconds a line of the audit log stays."
    )
    delay_seconds: int = Field(
        30 * 86_400,
        ge=0,
        le=365 * 86_400,
        description="Longest `delay` of a submission, in seconds.",
    )
    send_seconds: float = Field(
        3,
        ge=0.5,
        le=30,
        description="Seconds the API waits for SQS before it puts a job into the outbox.",
    )
    attempts: int = Field(
        8, ge=1, le=100, description="Attempts of a task that declares no policy of its own."
    )
    record_seconds: float = Field(
        600,
        ge=0,
        le=41_400,
        description="Seconds for which a worker records an attempt's outcome again that the "
        "ledger did not take; at least the lane's `lease`, at most until the task's time limit.",
    )
    crashes: int = Field(3, ge=1, le=20, description="Deaths of the child before a job is dead.")
    requests_per_second: float = Field(
        200, ge=0, description="Requests a second and tenant, for each API process; 0: no limit."
    )
    request_burst: int = Field(400, ge=1, description="Requests a tenant may make at once.")
    tenant_requests: int = Field(
        12,
        ge=0,
        description="Requests of one tenant under way at once in an API process, three quarters "
        "of its 16 threads; more are refused with 429 at once, unless no other tenant has asked "
        "for ten minutes; 0: no limit.",
    )
    system_requests: int = Field(
        4,
        ge=1,
        description="Requests of an API process that may wait for one internal system at once; "
        "jobs that need it beyond that are refused with 503 at once.",
    )
    enrich_seconds: float = Field(
        10,
        ge=0.1,
        le=60,
        description="Seconds that all requests of one enrichment may take together.",
    )
    token_cache_seconds: float = Field(
        30,
        ge=0,
        le=300,
        description="Seconds a token's look-up is believed: how long a revoked one may work.",
    )
    unknown_tokens_per_second: float = Field(
        5,
        ge=0,
        description="Unknown tokens a second and address that an API process looks up, ten "
        "seconds' worth at once; 0: no limit. Tokens with a check in them do not count.",
    )
    stop_seconds: float = Field(
        100,
        ge=1,
        le=7_200,
        description="Seconds a stopping worker's jobs may go on, before they are given back; keep "
        "it under the platform's stop time-out (ECS: at most 120).",
    )
    unknown_key_seconds: float = Field(
        60,
        ge=0,
        description="Seconds an envelope with an unknown key id waits for a rotation to arrive.",
    )
    unknown_task_seconds: float = Field(
        300,
        ge=0,
        description="Seconds a message of an unknown task waits for a worker that knows it.",
    )


class WebSettings(BaseModel):
    """How the API takes connections; every number is for one process."""

    model_config = ConfigDict(extra="forbid")

    health_port: int = Field(
        8081,
        ge=0,
        le=65_535,
        description="Port of `/healthz`, `/readyz` and `/metrics`, answered by threads of their "
        "own; 0: none.",
    )
    header_seconds: float = Field(
        10,
        gt=0,
        le=300,
        description="Seconds from a request's first byte, or a new connection, to the end of "
        "its headers.",
    )
    body_seconds: float = Field(
        30, gt=0, le=600, description="Seconds from the end of the headers to that of the body."
    )
    request_seconds: float = Field(
        120,
        gt=0,
        le=3_600,
        description="Seconds from a request's first byte to the last one of its answer; then "
        "the connection closes.",
    )
    keepalive_seconds: float = Field(
        75,
        gt=0,
        le=4_000,
        description="Seconds a connection may wait for its next request; longer than the "
        "load balancer's idle time-out (ALB: 60), or it meets closed connections.",
    )
    connections: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Connections at once; one more ends the one that has been incomplete, or "
        "idle, for longest.",
    )
    connections_per_address: int = Field(
        100,
        ge=0,
        description="Connections of one address at once; 0: no cap, as behind a load balancer, "
        "whose address all share.",
    )
    buffered_bytes: int = Field(
        134_217_728,
        ge=65_536,
        description="Bytes of request bodies in memory; over it the largest incomplete one is "
        "refused.",
    )


class RetryOverride(BaseModel):
    """What an operator sets in place of a task's own `RetryPolicy`; unset fields stay."""

    model_config = ConfigDict(extra="forbid")

    attempts: int | None = Field(
        None, ge=1, le=100, description="Attempts in all, the first included."
    )
    base: float | None = Field(
        None,
        ge=0,
        le=43_200,
        description="Seconds; upper bound of the first delay, doubled with each attempt.",
    )
    cap: float | None = Field(
        None, ge=0, le=43_200, description="Seconds; upper bound of every delay."
    )
    max_age: float | None = Field(
        None, gt=0, description="Seconds after acceptance when no further attempt starts."
    )


class StewardSettings(BaseModel):
    """How stewards share their duties."""

    model_config = ConfigDict(extra="forbid")

    lease: float = Field(
        15,
        ge=1,
        le=300,
        description="Seconds until another steward takes over the duties of one that died.",
    )
    sweep_every: float = Field(
        600, ge=1, description="Seconds between two sweeps for jobs that nobody moves."
    )
    sweep_after: float = Field(
        3_600,
        ge=60,
        description="Seconds a job may stand still before a sweep looks for its message.",
    )
    step_seconds: float = Field(
        3_600,
        ge=1,
        description="Seconds a replay's canary step may wait for its outcomes; then the replay "
        "stops.",
    )


class LedgerSettings(BaseModel):
    """How the ledger's indexes are laid out."""

    model_config = ConfigDict(extra="forbid")

    shards: int = Field(
        SHARDS,
        ge=1,
        le=SHARDS_MAX,
        description="Keys over which the jobs of a lane, and of a tenant, are spread in the "
        "ledger's indexes, a group's open letters, and the outbox's items: each takes 1,000 "
        "writes a second, and a job makes two. As many parts of the outbox stewards drain side by "
        "side. To change it, see docs/architecture.md.",
    )
    shards_read: int | None = Field(
        None,
        ge=1,
        le=SHARDS_MAX,
        description="Keys that are read, for each page as many queries: the most that `shards` "
        "ever was while jobs of then are kept. Default: `shards`.",
    )

    @model_validator(mode="after")
    def _all_are_read(self) -> LedgerSettings:
        if self.shards_read is not None and self.shards_read < self.shards:
            raise ValueError("shards_read is less than shards: jobs would not be found")
        return self


class KeySettings(BaseModel):
    """Who has keys of their own."""

    model_config = ConfigDict(extra="forbid")

    per_lane: bool = Field(
        default=True,
        description="Whether `sealwax keys init` gives each lane keys of its own, so that a "
        "worker opens its lane's payloads alone; an environment that has keys already keeps its "
        "way until `sealwax keys rotate --all-lanes`.",
    )


RevealMode = Literal["operator-key", "console", "off"]


class RevealSettings(BaseModel):
    """Who may see what a dead letter's payload says, and how often."""

    model_config = ConfigDict(extra="forbid")

    mode: RevealMode | None = Field(
        None,
        description="`operator-key`: workers answer requests that an enrolled operator has signed, "
        "sealed to the operator's key; `console`: whatever the API asks for, sealed to the API's "
        "key; `off`: nothing. Default: `console` in environment `local`, else `operator-key`.",
    )
    per_hour: int = Field(
        20,
        ge=1,
        le=1_000,
        description="Payloads revealed in any 3,600 seconds, by all workers together; of refusals "
        "as many stand in the audit log.",
    )


class Demo(BaseModel):
    """A job that `sealwax dev` submits once everything runs."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(description="Name of a task that is served.")
    payload: dict[str, Any] = Field(default_factory=dict, description="Payload of that job.")
