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

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sealwax.aws.clients import AwsTimeouts
from sealwax.errors import ConfigurationError
from sealwax.schedules import Schedule
from sealwax.setting_sections import (
    Demo,
    KeySettings,
    Lane,
    LedgerSettings,
    Limits,
    RetryOverride,
    RevealMode,
    RevealSettings,
    StewardSettings,
    WebSettings,
)

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
