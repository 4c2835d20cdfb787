"""Customers from the sandbox's internal system to its CRM."""

from __future__ import annotations

import json
import time

import pytest
import requests

from sealwax.egress import HttpRule, OutgoingClient, OutgoingRefused
from sealwax.egress.enrich import Enricher, NotFoundUpstream, UpstreamDown
from sealwax.job import Job
from sealwax.local.sandbox import Sandbox
from sealwax.outcomes import Rejected, Transient
from sealwax.settings import Settings
from tasks.customers import Customer, EnrichedCustomer, enricher, secrets, upsert

JOB = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path) as running:
        yield running


# A loaded machine must not be taken for a system that hangs; where one hangs, it is waited
# for briefly.
PATIENT = {"connect": 10, "read": 10, "total": 20}
BRIEF = {"connect": 0.5, "read": 0.5, "total": 1}


def patience(what):
    return BRIEF if {"hang", "slow"} & what.keys() else PATIENT


def settings_for(sandbox, times=PATIENT):
    rule = {
        "schemes": ["http"],
        "cidrs": ["127.0.0.0/8"],
        "ports": [sandbox.port],
        "max_response_bytes": 10_000,
        **times,
    }
    return Settings(
        tasks={
            "customers": {
                "internal_url": f"{sandbox.url}/internal/customers/{{id}}",
                "internal_rule": rule,
                "crm_url": f"{sandbox.url}/crm/contacts/{{id}}",
                "crm_rule": rule,
                "crm_token": "app/crm",
            }
        }
    )


def control(sandbox, prefix, what):
    requests.put(f"{sandbox.url}/control/{prefix}", json=what, timeout=5).raise_for_status()


def job_for(sandbox, times=PATIENT):
    return Job(
        id=JOB,
        task="customers.sync",
        tenant="00",
        attempt=1,
        accepted_at=0.0,
        settings=settings_for(sandbox, times),
        secrets={"app/crm": "token"},
    )


def fetch(sandbox, identity="7", times=PATIENT):
    return enricher(settings_for(sandbox, times), OutgoingClient()).fetch(identity)


def test_a_customer_becomes_a_contact_under_the_job_id(sandbox):
    payload = EnrichedCustomer(customer_id="7", customer=fetch(sandbox))
    for _ in range(2):
        done = upsert(payload, job_for(sandbox), OutgoingClient())
        assert (done.status, done.dropped) == (200, [])
    seen = list(sandbox.deliveries.read(path="/crm/"))
    assert {one["idempotency_key"] for one in seen} == {JOB}
    assert seen[0]["headers"]["authorization"] == "Bearer token"
    contact = json.loads(seen[0]["body"])
    assert contact["phone"].startswith("+")
    assert contact["email"] == "Customer7@example.com"
    assert sandbox.contacts["7"] == contact
    assert list(secrets(job_for(sandbox).settings)) == ["app/crm"]


def test_all_generated_customers_have_usable_phone_numbers():
    from sealwax.local.sandbox.customers import customer
    from tasks.customers import normalise

    for number in range(1, 300):
        assert normalise(Customer.model_validate(customer(str(number))))[1] == []


def test_an_unknown_customer_is_not_found(sandbox):
    with pytest.raises(NotFoundUpstream):
        fetch(sandbox, "0")


@pytest.mark.parametrize("identity", ["", ".", "..", "../../healthz", "7?x", "7/../8", "é"])
def test_ids_cannot_leave_their_place(sandbox, identity):
    with pytest.raises(NotFoundUpstream):
        fetch(sandbox, identity)


@pytest.mark.parametrize(
    ("what", "cause", "tries"),
    [
        ({"fail": {"status": 500}}, "downstream-500", 2),
        ({"fail": {"status": 503, "retry_after": 9}}, "downstream-503", 1),
        ({"fail": {"status": 403}}, "downstream-403", 1),
        ({"hang": 20}, "downstream-timeout", 2),
        ({"garbage": True}, "downstream-garbage", 2),
        ({"reset": True}, "downstream-reset", 2),
        ({"redirect": "http://127.0.0.1:9/"}, "redirect-refused", 1),
        ({"slow": {"bytes_per_second": 20}}, "downstream-timeout", 1),
        ({"big": 100}, "downstream-invalid", 1),
        ({"big": 20_000}, "downstream-too-large", 2),
    ],
)
def test_a_broken_system_is_named_and_tried_at_most_twice(sandbox, what, cause, tries):
    control(sandbox, "internal", {**what, "times": 50})
    started = time.monotonic()
    with pytest.raises(UpstreamDown) as caught:
        fetch(sandbox, times=patience(what))
    if "hang" in what:
        assert time.monotonic() - started < what["hang"]
    assert (caught.value.system, caught.value.cause) == ("customers", cause)
    left = sandbox.controls.listing()["/internal"]["times"]
    assert 50 - left <= tries <= 2
    if cause == "downstream-503":
        assert caught.value.retry_after == 9


def test_one_failure_is_bridged_by_the_second_try(sandbox):
    control(sandbox, "internal", {"fail": {"status": 500, "times": 1}})
    assert fetch(sandbox).id == "7"


def test_the_errors_of_an_answer_that_does_not_fit_do_not_quote_it(sandbox):
    control(sandbox, "internal", {"big": 100})
    with pytest.raises(UpstreamDown) as caught:
        fetch(sandbox)
    assert caught.value.__context__ is None
    assert "xxxx" not in repr(caught.value)


@pytest.mark.parametrize(
    ("what", "kind", "cause"),
    [
        ({"fail": {"status": 503}}, Transient, "downstream-503"),
        ({"fail": {"status": 422}}, Rejected, "downstream-422"),
        ({"hang": 5}, Transient, "downstream-timeout"),
    ],
)
def test_failures_of_the_crm(sandbox, what, kind, cause):
    control(sandbox, "crm", what)
    payload = EnrichedCustomer(customer_id="7", customer=Customer(id="7"))
    with pytest.raises(kind) as caught:
        upsert(payload, job_for(sandbox, patience(what)), OutgoingClient())
    assert caught.value.cause == cause


@pytest.mark.parametrize("url", ["https://a.example/", "https://a.example/?id={id}"])
def test_an_enricher_needs_a_place_for_the_id(url):
    with pytest.raises(OutgoingRefused):
        Enricher(
            system="a",
            url=url,
            model=Customer,
            rule=HttpRule(hosts=("a.example",)),
            client=OutgoingClient(),
        )
