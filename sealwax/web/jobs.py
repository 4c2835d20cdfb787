"""Submitting jobs and reading what became of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import structlog
from flask import Blueprint, Response, g, jsonify, request, url_for
from pydantic import ValidationError

from sealwax.enrichment import EnrichmentContext
from sealwax.envelope import EnvelopeError, Expected, Purpose, open_envelope
from sealwax.ledger import JobState, LedgerEntry
from sealwax.task_definition import InvalidPayload, TaskDefinition
from sealwax.web.auth import principal, requires
from sealwax.web.body import read_json
from sealwax.web.problems import Problem
from sealwax.web.services import services
from sealwax.web.times import iso

__all__ = ["blueprint"]

log = structlog.get_logger("sealwax.api")
blueprint = Blueprint("jobs", __name__, url_prefix="/v1")

_JOB_ID = re.compile(r"[0-9a-f]{32}")
#: Printable ASCII but the comma: servers join two headers of one name by commas (RFC 9110,
#: section 5.3), and two keys are none.
_IDEMPOTENCY_KEY = re.compile(r"[!-+\--~]([ -+\--~]{0,253}[!-+\--~])?")

#: Seconds after which a caller should look at the job again.
_POLL_AFTER = 1


@blueprint.post("/jobs")
@requires("jobs:submit")
def submit() -> Response:
    """Accept a job: 202 with Location once the queue has it."""
    body = read_json(request, services().body_limit)
    definition, payload, times = _read_request(body)
    limit = max(services().settings.limits.request_bytes, definition.max_payload or 0)
    if g.body_bytes > limit:
        detail = f"This task accepts at most {limit} bytes in one request."
        raise Problem("too-large", detail=detail, limit=limit)
    if not principal().allows("jobs:submit", definition.name):
        raise Problem("forbidden", detail="The token may not submit this task.")
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Problem("invalid-idempotency-key")
    try:
        # From JSON: a strict contract takes a text for a date there, and nowhere else.
        model = definition.contract.model_validate_json(json.dumps(payload))
        if definition.validate is not None:
            definition.validate(model, services().settings)
    except ValidationError as error:
        errors = field_errors(error, definition.contract)
        raise Problem("validation-failed", errors=errors) from None
    except InvalidPayload as error:
        errors = [{"pointer": f"/payload{error.pointer}", "detail": error.detail}]
        raise Problem("validation-failed", errors=errors) from None
    wait = services().admission.refused(definition.lane)
    if wait is not None:
        raise Problem("lane-overloaded", retry_after=wait)
    submission = services().submitter.submit(
        definition,
        payload,
        tenant=principal().tenant,
        idempotency_key=key,
        enrich=_enricher(definition, model),
        **times,
    )
    entry = submission.entry
    response = jsonify({"id": entry.id, "task": entry.task, "state": JobState.ACCEPTED.value})
    response.status_code = 202
    response.headers["Location"] = url_for("jobs.show", job_id=entry.id)
    response.headers["Retry-After"] = str(_POLL_AFTER)
    return response


def _read_request(body: Any) -> tuple[TaskDefinition[Any], Any, dict[str, float]]:
    errors: list[dict[str, str]] = []
    if not isinstance(body, dict):
        raise Problem(
            "validation-failed",
            errors=[{"pointer": "", "detail": "must be an object with `task` and `payload`"}],
        )
    name = body.get("task")
    if not isinstance(name, str):
        errors.append({"pointer": "/task", "detail": "must be a string, the task's name"})
    if "payload" not in body:
        errors.append({"pointer": "/payload", "detail": "is missing"})
    limits = services().settings.limits
    times = {
        "delay": _seconds(body, "delay", 0, limits.delay_seconds, errors),
        "expires_in": _seconds(body, "expires_in", 1, limits.max_age_seconds, errors),
    }
    if times["expires_in"] and times["delay"] >= times["expires_in"]:
        errors.append({"pointer": "/delay", "detail": "must be less than expires_in"})
    unknown = len(set(body) - {"task", "payload", *times})
    if unknown:
        errors.append({"pointer": "", "detail": f"has {unknown} unknown member(s)"})
    if errors:
        raise Problem("validation-failed", errors=errors)
    definition = services().definitions.get(str(name))
    if definition is None:
        raise Problem("unknown-task")
    return definition, body["payload"], {name: value for name, value in times.items() if value}


def _seconds(
    body: dict[str, Any], name: str, least: float, most: float, errors: list[dict[str, str]]
) -> float:
    """Return a member that holds seconds, 0 where it is not there."""
    value = body.get(name, 0)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in body and not (number and least <= value <= most):  # NaN is neither
        detail = f"must be a number of seconds from {least} to {most}"
        errors.append({"pointer": f"/{name}", "detail": detail})
        return 0.0
    return float(value)


def _enricher(definition: TaskDefinition[Any], model: Any) -> Callable[[], Any] | None:
    """Return what fetches the rest of the payload, if the task has something fetched."""
    enrich = definition.enrich
    if enrich is None:
        return None
    runtime = services().runtime
    edge = EnrichmentContext(
        settings=services().settings,
        client=services().systems.client(
            tenant=principal().tenant, seconds=runtime.settings.limits.enrich_seconds
        ),
        secrets={name: runtime.secrets[name] for name in definition.edge_secrets(runtime.settings)},
    )
    return lambda: enrich(model, edge).model_dump(mode="json")


def field_errors(error: ValidationError, contract: type) -> list[dict[str, str]]:
    """Return a pointer and an explanation for each field, without the input.

    pydantic's own messages may quote the input (`ctx` of a literal, a custom
    validator's text), so only those of its message templates that have no
    input in them are used: the error type, and the message where it has no
    context of its own. Names that the caller chose (extra fields, mapping keys)
    are not echoed either.
    """
    known = _names_of(contract)
    found = []
    for item in error.errors(include_url=False, include_context=False, include_input=False)[:50]:
        pointer = "/payload"
        for part in item["loc"]:
            if isinstance(part, int) or part in known:
                pointer += f"/{str(part).replace('~', '~0').replace('/', '~1')}"
            else:
                pointer += "/*"
        kind = item["type"]
        custom = kind in ("value_error", "assertion_error") or kind not in _SAFE_MESSAGES
        found.append({"pointer": pointer, "detail": kind if custom else item["msg"], "type": kind})
    return found


#: pydantic error types whose message holds only what the contract says.
#: https://docs.pydantic.dev/latest/errors/validation_errors/
_SAFE_MESSAGES = frozenset(
    {
        "missing", "extra_forbidden", "string_type", "int_type", "float_type", "bool_type",
        "list_type", "dict_type", "model_type", "none_required", "string_too_short",
        "string_too_long", "too_short", "greater_than", "greater_than_equal", "less_than",
        "less_than_equal", "literal_error", "enum", "string_pattern_mismatch", "int_parsing",
        "float_parsing", "bool_parsing", "finite_number", "model_attributes_type",
        "multiple_of", "dict_attributes_type", "date_type", "datetime_type", "union_tag_not_found",
    }
)  # fmt: skip


def _names_of(contract: type) -> set[str]:
    """Return every field name in a contract's JSON schema."""
    names: set[str] = set()
    stack: list[Any] = [contract.model_json_schema()]  # type: ignore[attr-defined]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                names |= set(properties)
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return names


@blueprint.get("/jobs/<job_id>")
@requires("jobs:read")
def show(job_id: str) -> Response:
    """Show a job of the caller's tenant: state, attempts, times, result or error."""
    entry = _mine(job_id)
    response = jsonify(_document(entry))
    response.headers["Cache-Control"] = "no-store"
    if not entry.final:
        response.headers["Retry-After"] = str(_POLL_AFTER)
    return response


@blueprint.delete("/jobs/<job_id>")
@requires("jobs:submit")
def cancel(job_id: str) -> Response:
    """Cancel a job of the caller's tenant.

    200: it is cancelled. 202: it runs, its attempt is asked to stop; it may
    succeed all the same. 409: it had ended otherwise.
    """
    entry = _mine(job_id)
    if not principal().allows("jobs:submit", entry.task):
        raise Problem("forbidden", detail="The token may not submit this task.")
    after = services().runtime.ledger.cancel(entry.id)
    if after is None:
        raise Problem("not-found")
    if after.final and after.state is not JobState.CANCELLED:
        raise Problem("job-ended", state=after.state.value)
    log.info("job cancel", job=after.id, task=after.task, tenant=after.tenant, state=after.state)
    response = jsonify(_document(after))
    response.headers["Cache-Control"] = "no-store"
    if not after.final:
        response.status_code = 202
        response.headers["Retry-After"] = str(_POLL_AFTER)
    return response


def _mine(job_id: str) -> LedgerEntry:
    """Return a job of the caller's tenant; others' do not exist."""
    if not _JOB_ID.fullmatch(job_id):
        raise Problem("not-found")
    entry = services().runtime.ledger.get(job_id)
    mine = services().runtime.hashes.tenant_ref(principal().tenant)
    if entry is None or entry.tenant != mine:
        raise Problem("not-found")
    return entry


def _document(entry: LedgerEntry) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": entry.id,
        "task": entry.task,
        "state": entry.state.value,
        "attempts": entry.attempts,
        "created": iso(entry.created),
        "updated": iso(entry.updated),
        "started": iso(entry.started),
        "finished": iso(entry.finished),
    }
    if entry.state is JobState.SUCCEEDED:
        document["result"] = _open_result(entry)
        if entry.result_omitted:
            document["result_omitted"] = entry.result_omitted
    elif entry.cause is not None:
        document["error"] = {
            name: value
            for name, value in (
                ("reason", entry.reason),
                ("cause", entry.cause),
                ("class", entry.error),
            )
            if value is not None
        }
    if entry.progress_done is not None and not entry.final:
        document["progress"] = {
            name: value
            for name, value in (
                ("done", entry.progress_done),
                ("total", entry.progress_total),
                ("phase", entry.phase),
            )
            if value is not None
        }
    if entry.not_before is not None and not entry.attempts:
        document["not_before"] = iso(entry.not_before)
    if entry.due is not None and entry.state is JobState.RETRYING:
        document["next_attempt"] = iso(entry.due)
    if entry.run_before is not None and not entry.final:
        document["expires"] = iso(entry.run_before)
    if entry.cancel_asked is not None and not entry.final:
        document["cancel_asked"] = iso(entry.cancel_asked)
    return document


def _open_result(entry: LedgerEntry) -> Any:
    if entry.result is None:
        return None
    runtime = services().runtime
    expect = Expected(purpose=Purpose.RESULT, task=entry.task, job=entry.id, tenant=entry.tenant)
    for again in (True, False):
        try:
            # A result lives as long as its entry: its own not-after is not asked.
            opened = open_envelope(entry.result, keyring=runtime.keyring, expect=expect, now=0.0)
            return json.loads(opened.plaintext)
        except EnvelopeError as error:
            if again and error.transient and runtime.refresh_for_unknown_key():
                continue
            log.warning("result unopenable", job=entry.id, cause=error.cause)
            raise Problem("internal-error", detail="The result cannot be opened.") from None
    return None
