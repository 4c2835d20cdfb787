"""Configuration: one model, read once at start from the environment and TOML files.

Precedence: environment variables (``SEALWAX_…``, nested with ``__``), then the
files named by ``SEALWAX_CONFIG`` (several as in PATH, the last first; default
``sealwax.toml`` in the current folder, if it exists), then the defaults here. AWS's own variables
(``AWS_REGION``, ``AWS_ENDPOINT_URL``, credentials) are boto3's to read.
Secrets never stand here: they come from a `sealwax.secrets.SecretSource`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sealwax.aws.clients import AwsTimeouts
from sealwax.aws.shards import SHARDS, SHARDS_MAX
from sealwax.errors import ConfigurationError
from sealwax.schedules import Schedule

__all__ = [
    "Demo",
    "KeySettings",
    "Lane",
    "LedgerSettings",
    "Limits",
    "RetryOverride",
    "RevealSettings",
    "Settings",
    "StewardSettings",
    "WebSettings",
    "is_setting",
    "load_settings",
    "read_files",
    "refuse_unknown_variables",
]

Section = TypeVar("Section", bound=BaseModel)

#: SQS keeps a message at most this long, in seconds.
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
SQS_RETENTION_MAX = 14 * 24 * 3600


#: Lanes' names, which stand in names of queues, roles and secrets.
_LANE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(\.fifo)?")


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
        "ledger's indexes: each takes 1,000 writes a second, and a job makes two. To change it, "
        "see docs/architecture.md.",
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


class Settings(BaseSettings):
    """All settings of all roles."""

    model_config = SettingsConfigDict(
        env_prefix="SEALWAX_", env_nested_delimiter="__", extra="forbid"
    )

    environment: str = Field(
        "local",
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$",
        max_length=31,
        description="Name of the installation: stands in all resources' names and is bound to "
        "each secret. Letters, digits and single dashes.",
    )
    prefix: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
        description="What all resources' names begin with; default `sealwax-<environment>`.",
    )
    lanes: dict[str, Lane] = Field(
        default_factory=lambda: {"default": Lane.model_validate({})},
        description="Queues by lane name; default: one lane, `default`.",
    )
    task_modules: list[str] = Field(
        default_factory=list,
        description='Packages whose tasks are served, such as `["tasks"]`; roles that serve '
        "tasks need at least one.",
    )
    app: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="The HTTP application's factory, `module:function`; default: the product's.",
    )
    demo: Demo | None = Field(None, description="The job that `sealwax dev` runs to show itself.")
    retry: dict[str, RetryOverride] = Field(
        default_factory=dict, description="By task name, over the task's own policy."
    )
    limits: Limits = Field(default_factory=lambda: Limits.model_validate({}))
    aws: AwsTimeouts = Field(default_factory=lambda: AwsTimeouts.model_validate({}))
    web: WebSettings = Field(
        default_factory=lambda: WebSettings.model_validate({}),
        description="How the API takes connections.",
    )
    steward: StewardSettings = Field(
        default_factory=lambda: StewardSettings.model_validate({}),
        description="How stewards share their duties.",
    )
    schedules: dict[str, Schedule] = Field(
        default_factory=dict, description="Periodic jobs by name, fired once a tick."
    )
    bucket: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="S3 bucket of payloads too big for a message; default `<prefix>-payloads`. In "
        "AWS the data layer's output `PayloadsBucketName`: it has the account's number behind it.",
    )
    suite: Literal["x-wing", "x25519"] = Field("x-wing", description="KEM of new keys.")
    ledger: LedgerSettings = Field(
        default_factory=lambda: LedgerSettings.model_validate({}),
        description="How the ledger's indexes are laid out.",
    )
    keys: KeySettings = Field(
        default_factory=lambda: KeySettings.model_validate({}),
        description="Who has keys of their own.",
    )
    reveal: RevealSettings = Field(
        default_factory=lambda: RevealSettings.model_validate({}),
        description="Who may see a dead letter's payload.",
    )
    secrets_file: Path | None = Field(
        None, description="Read secrets from this JSON file instead of CredStash (tests only)."
    )
    secrets_refresh_seconds: float = Field(
        300,
        ge=5,
        description="Seconds between two readings of the secrets; SIGHUP reads them at once.",
    )
    report_seconds: float = Field(
        5,
        ge=0.2,
        le=20,
        description="Seconds between two heartbeats of a worker, which then looks for pauses and "
        "drains too.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe level of a line that is logged."
    )
    liveness_file: Path | None = Field(
        None,
        description="File into which a worker or steward writes its health, read by "
        "`sealwax health`; in the image `/tmp/sealwax-liveness.json`.",
    )
    counters_seconds: float = Field(
        60,
        ge=0,
        le=86_400,
        description="Seconds between two log lines of the transport's counters; 0: never.",
    )
    public_url: str | None = Field(
        None,
        description="Address under which browsers reach the API, `https://…`: the console takes "
        "changes from this origin.",
    )
    tasks: dict[str, Any] = Field(
        default_factory=dict, description="A section for each task module, read by it."
    )

    @field_validator("lanes")
    @classmethod
    def _name_lanes(cls, lanes: dict[str, Lane]) -> dict[str, Lane]:
        for name in lanes:
            if not _LANE.fullmatch(name) or name.removesuffix(".fifo").endswith("-dlq"):
                raise ValueError(
                    f"the lane {name!r} needs another name: lower-case letters, digits and single "
                    "dashes, a letter first, with `.fifo` behind it where its queue is FIFO, and "
                    "no `-dlq` at its end, which names dead-letter queues"
                )
        return lanes

    @model_validator(mode="after")
    def _keep_queues_apart(self) -> Self:
        owners: dict[str, str] = {}
        for lane in self.lanes:
            for queue in (self.queue_name(lane), self.dead_letter_queue_name(lane)):
                if owners.setdefault(queue, lane) != lane:
                    raise ValueError(
                        f"the lanes {owners[queue]!r} and {lane!r} share the queue {queue!r}; "
                        f"set another lanes.{lane}.queue"
                    )
        return self

    @property
    def name_prefix(self) -> str:
        """What all names of AWS resources begin with."""
        return self.prefix or f"sealwax-{self.environment}"

    @property
    def reveal_mode(self) -> RevealMode:
        """How payloads of dead letters are revealed."""
        return self.reveal.mode or ("console" if self.environment == "local" else "operator-key")

    def queue_name(self, lane: str) -> str:
        """Return the SQS queue name of a lane."""
        if lane not in self.lanes:
            raise ConfigurationError(
                f"Lane {lane!r} is not configured; add [lanes.{lane}] or use one of "
                f"{', '.join(sorted(self.lanes))}."
            )
        # No environment's name has an underscore: `prod` with a lane `eu-default` and
        # `prod-eu` with a lane `default` must not be one queue.
        return self.lanes[lane].queue or f"{self.name_prefix}_{lane}"

    def dead_letter_queue_name(self, lane: str) -> str:
        """Return the name of a lane's dead-letter queue: FIFO queues need a FIFO one."""
        name = self.queue_name(lane)
        if name.endswith(".fifo"):
            return f"{name.removesuffix('.fifo')}-dlq.fifo"
        return f"{name}-dlq"

    def table_name(
        self,
        table: Literal["jobs", "tokens", "secrets", "outbox", "control", "letters", "audit"],
    ) -> str:
        """Return the name of a DynamoDB table."""
        return f"{self.name_prefix}-{table}"

    @property
    def bucket_name(self) -> str:
        """The S3 bucket of payloads that do not fit into a message."""
        return self.bucket or f"{self.name_prefix}-payloads".lower().replace("_", "-")

    def kms_alias(self, role: Literal["api", "worker", "steward", "shared"]) -> str:
        """Return the alias of a role's KMS key."""
        return f"alias/{self.name_prefix}-{role}"

    def section(self, name: str, model: type[Section]) -> Section:
        """Return the settings of one task module (`[tasks.<name>]`), validated.

        Raises
        ------
        ConfigurationError
            Where the section does not fit `model`; names the field.
        """
        try:
            return model.model_validate(self.tasks.get(name, {}))
        except ValidationError as error:
            raise ConfigurationError(_explain(error, f"tasks.{name}.")) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before files before defaults; no .env files, no secret files."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, read_files())


def _explain(error: ValidationError, prefix: str = "") -> str:
    lines = [
        f"{prefix}{'.'.join(str(part) for part in item['loc'])}: {item['msg']}".removeprefix(": ")
        for item in error.errors(include_input=False, include_url=False)
    ]
    return "The configuration does not fit: " + "; ".join(lines)


#: Variables that are read elsewhere than in the settings.
_OTHER_VARIABLES = frozenset(
    {
        "SEALWAX_API_URL",
        "SEALWAX_CONFIG",
        "SEALWAX_EMULATOR_ENV",
        "SEALWAX_SANDBOX_SECRET",
        "SEALWAX_TOKEN",
    }
)


def is_setting(variable: str) -> bool:
    """Whether an environment variable gives a setting, or a part of one."""
    return variable.split("__", 1)[0] in _variables()


def _variables() -> set[str]:
    return {f"SEALWAX_{name.upper()}" for name in Settings.model_fields}


def refuse_unknown_variables() -> None:
    """Refuse a mistyped variable: pydantic-settings would pass it over in silence.

    Raises
    ------
    ConfigurationError
        Names the setting that may have been meant.
    """
    known = _variables()
    for name in sorted(os.environ):
        if not name.startswith("SEALWAX_") or name in _OTHER_VARIABLES or "_TEST_" in name:
            continue
        first = name.split("__", 1)[0]
        if first not in known:
            wanted = [setting.removeprefix("SEALWAX_") for setting in sorted(known)]
            near = difflib.get_close_matches(first.removeprefix("SEALWAX_"), wanted, 1)
            hint = (
                f"; did you mean SEALWAX_{near[0]}?"
                if near
                else "; see docs/reference/settings.md."
            )
            raise ConfigurationError(f"The variable {name} is no setting{hint}")


def read_files() -> dict[str, Any]:
    """Return what the configuration files say, merged: of two that set one value, the later's.

    SEALWAX_CONFIG names them, separated as in PATH; default: `sealwax.toml`
    in the current folder, if it exists. Tables are merged, lists are not.

    Raises
    ------
    ConfigurationError
        Where a named file is not there, or is no TOML.
    """
    named = os.environ.get("SEALWAX_CONFIG")
    paths = [Path(name) for name in (named or "").split(os.pathsep) if name]
    if not paths:
        paths = [path for path in (Path("sealwax.toml"),) if path.is_file()]
    merged: dict[str, Any] = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
            if text.startswith("\ufeff"):
                raise ConfigurationError(
                    f"{path} begins with a byte order mark, which TOML does not know; save it as "
                    "UTF-8 without one."
                )
            _merge(merged, tomllib.loads(text))
        except FileNotFoundError:
            raise ConfigurationError(f"SEALWAX_CONFIG names {path}, which is not a file.") from None
        except OSError as error:
            raise ConfigurationError(
                f"{path} cannot be read ({error.strerror}); SEALWAX_CONFIG names files."
            ) from None
        except ValueError as error:  # of TOML's syntax, or of the encoding
            raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from None
    return merged


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, with `overrides` before the environment.

    Raises
    ------
    ConfigurationError
        Names each field that does not fit; values are not echoed. Also where
        SEALWAX_CONFIG names a file that is not there.
    """
    refuse_unknown_variables()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from None
    except ValueError as error:  # a TOML syntax error, or JSON in a variable
        raise ConfigurationError(f"The configuration cannot be read: {error}") from None
