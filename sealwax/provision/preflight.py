"""Everything `sealwax check` looks at, as data: configuration, AWS, secrets, keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws.clients import Aws
from sealwax.aws.clock import OFF
from sealwax.aws.errors import error_code
from sealwax.errors import SealwaxError
from sealwax.keys.keyring import Keyring
from sealwax.keys.lifecycle import key_documents
from sealwax.keys.public import SHARED, PublicKeyring
from sealwax.provision import audit
from sealwax.secrets import SecretSource
from sealwax.secrets.factory import make_source
from sealwax.settings import SQS_RETENTION_MAX, Settings
from sealwax.task_definition import TaskDefinition, discover

__all__ = ["Check", "configuration_checks", "lane_key_checks", "log_warnings", "run_checks"]

log = structlog.get_logger("sealwax.provision.preflight")


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, and what is wrong with it (None: nothing)."""

    kind: str
    name: str
    problem: str | None = None
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        return self.problem is None


def run_checks(settings: Settings, aws: Aws) -> Iterator[Check]:
    """Look at everything, one check at a time; never raises for what it finds."""
    yield Check("configuration", settings.environment)
    wanted = set()
    try:
        definitions = discover(settings.task_modules)
        for definition in definitions.values():
            settings.queue_name(definition.lane)
            if definition.configure is not None:
                definition.configure(settings)
            wanted |= set(definition.secrets(settings))
        yield Check("tasks", ", ".join(sorted(definitions)) or "none")
        yield from configuration_checks(settings, definitions)
    except SealwaxError as error:
        yield Check("tasks", ", ".join(settings.task_modules), str(error), "mend the configuration")
    try:
        for finding in audit(settings, aws):
            yield Check(finding.kind, finding.name, finding.problem, finding.remedy)
    except (BotoCoreError, ClientError) as error:
        yield Check(
            "aws",
            error_code(error),
            "AWS does not answer as it should",
            "check credentials, AWS_REGION, AWS_ENDPOINT_URL and the network",
        )
        return
    yield clock_check(aws.clock.off)
    yield from _check_secrets(settings, make_source(settings, aws), wanted)


def clock_check(off: float) -> Check:
    """Judge by how many seconds this machine's clock is ahead of AWS's."""
    return Check(
        "clock",
        "this machine",
        f"it is {off:+.0f} s off AWS's" if abs(off) > OFF else None,
        "synchronise it, as by NTP; roles go by AWS's clock meanwhile",
    )


def configuration_checks(
    settings: Settings, definitions: Mapping[str, TaskDefinition[Any]]
) -> Iterator[Check]:
    """Compare times that each make sense alone and must make sense together.

    Roles look at them when they start, `sealwax check` before.
    """
    limits = settings.limits
    # Copies of a message live as long as SQS keeps them; what became of their
    # job must be known until then, or they become dead letters of unknown jobs.
    yield Check(
        "limits",
        "retention_seconds",
        None
        if limits.retention_seconds >= SQS_RETENTION_MAX
        else "finished jobs are forgotten before the last copy of their message",
        f"set limits.retention_seconds to {SQS_RETENTION_MAX} or more",
    )
    yield from _time_checks(settings)
    for name, definition in sorted(definitions.items()):
        policy = definition.policy(settings)
        longest = min(policy.max_age or limits.max_age_seconds, limits.max_age_seconds)
        seconds = definition.time_limit or limits.task_seconds
        if seconds >= longest:
            yield Check(
                "limits",
                name,
                f"one attempt may take {seconds} s, the job may be tried for {longest:.0f} s only",
                "shorten its time_limit, or lengthen limits.max_age_seconds or its retry.max_age",
            )
        if policy.max_age is not None and policy.max_age > limits.max_age_seconds:
            yield Check(
                "limits",
                name,
                f"its retry.max_age is {policy.max_age:.0f} s, no job is tried for longer than "
                f"{limits.max_age_seconds} s",
                "shorten its retry.max_age, or lengthen limits.max_age_seconds",
            )


def _time_checks(settings: Settings) -> Iterator[Check]:
    """Compare what waits with what it waits for."""
    limits, call = settings.limits, settings.aws.connect + settings.aws.read
    # The reservation of its id, its payload's object, its acceptance.
    answer = limits.enrich_seconds + limits.send_seconds + call
    if answer >= settings.web.request_seconds:
        yield Check(
            "limits",
            "web.request_seconds",
            f"a request is cut off after {settings.web.request_seconds:g} s, and to enrich, send "
            f"and record a job may take {answer:g} s: callers would repeat what was accepted",
            f"set web.request_seconds above {answer:g}, or shorten limits.enrich_seconds or "
            "limits.send_seconds",
        )
    leases = {f"lanes.{name}.lease": float(lane.lease) for name, lane in settings.lanes.items()}
    for name, lease in sorted((leases | {"steward.lease": settings.steward.lease}).items()):
        if lease <= call:
            yield Check(
                "limits",
                name,
                f"it ends after {lease:g} s, and one slow call to AWS that renews it may take "
                f"{call:g} s",
                f"set {name} above {call:g}, or shorten aws.connect or aws.read",
            )
    longest = max(lane.lease for lane in settings.lanes.values())
    if settings.steward.sweep_after <= longest:
        yield Check(
            "limits",
            "steward.sweep_after",
            f"jobs are taken for lost after {settings.steward.sweep_after:g} s, and a worker that "
            f"died holds their messages for up to {longest} s",
            f"set steward.sweep_after above {longest}",
        )


def log_warnings(checks: Iterable[Check]) -> None:
    """Log what is wrong: for roles at their start, which would fail late and far away by it."""
    for check in checks:
        if not check.ok:
            log.warning(
                "configuration does not fit",
                name=check.name,
                problem=check.problem,
                remedy=check.remedy,
            )


def lane_key_checks(settings: Settings, keyring: PublicKeyring) -> Iterator[Check]:
    """Look whether jobs of each lane can be sealed for its workers."""
    without = keyring.lanes_without_key(settings.lanes)
    for lane in sorted(settings.lanes):
        if lane in without:
            yield Check(
                "keys",
                f"worker, lane {lane}",
                "it has no active key: no job of this lane can be sealed",
                f"run `sealwax keys rotate --lane {lane}`",
            )
        else:
            yield Check("keys", f"worker, lane {lane}")


def _check_secrets(settings: Settings, source: SecretSource, wanted: set[str]) -> Iterator[Check]:
    documents = {}
    keys = key_documents(settings)
    with suppress(SealwaxError):
        # It says which scheme is in force here, whatever the settings say of new ones.
        public = PublicKeyring.load(source.get(SHARED))
        common = [name for name in keys if not name.startswith("worker/")]
        keys = (*public.private_names("worker"), *common)
    for name in (*keys, *sorted(wanted)):
        try:
            documents[name] = source.get(name)
            yield Check("secret", name)
        except SealwaxError as error:
            remedy = "run `sealwax keys init`" if name in keys else "put it with credstash"
            yield Check("secret", name, str(error), remedy)
    if not all(name in documents for name in keys):
        return
    try:
        api = Keyring.read("api", documents.__getitem__)
        api.private(api.recipient("api").id)
        yield Check("keys", "api")
    except SealwaxError as error:
        yield Check("keys", "api", str(error), _LIST)
        return
    for check in lane_key_checks(settings, api):
        yield check if not check.ok else _private_half(check, documents)


#: What mends documents that do not belong together.
_LIST = "run `sealwax keys list` and rotate"


def _private_half(check: Check, documents: Mapping[str, str]) -> Check:
    """Return the check of a lane's active key, which its workers must hold."""
    lane = check.name.removeprefix("worker, lane ")
    try:
        keyring = Keyring.read("worker", documents.__getitem__, lane=lane)
        keyring.private(keyring.recipient("worker", lane).id)
    except SealwaxError as error:
        return Check(check.kind, check.name, str(error), _LIST)
    return check
