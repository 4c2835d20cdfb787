"""DynamoDB away for the workers alone: they stop receiving, burn no attempts, take up again."""

from __future__ import annotations

import pytest
from support.fault_proxy import Fault, FaultProxy
from support.submitting import submit
from support.waiting import wait_for

from sealwax.web.app import create_app

JOBS = 20


@pytest.mark.long
def test_a_worker_without_its_ledger_receives_nothing_and_charges_nobody(make_roles, ministack):
    roles = make_roles()
    ledger = FaultProxy(ministack.url)
    app = create_app(roles.settings)
    services = app.extensions["sealwax"]
    try:
        token = services.tokens.issue(tenant="acme", scopes=["jobs:submit"]).token
        auth = {"Authorization": f"Bearer {token}"}
        roles.worker(AWS_ENDPOINT_URL_DYNAMODB=ledger.url)
        ledger.break_with(Fault("error", status=500, code="InternalServerError"))
        for n in range(JOBS):
            assert submit(app, auth, n)[0] == 202
        wait_for(lambda: "ledger away" in roles.log("worker"), seconds=60)
        # Polls that are under way end; then no more begin.
        last = [-1]

        def quiet() -> bool:
            before, last[0] = last[0], roles.proxy.seen["ReceiveMessage"]
            return before == last[0]

        wait_for(quiet, seconds=60)
        assert not roles.marks()
        ledger.heal()
        wait_for(lambda: len(roles.marks()) == JOBS, seconds=120, what="all jobs to run")
        assert set(roles.marks().values()) == {1}
        attempts = [line.split()[2] for line in roles.marks_file.read_text().splitlines()]
        assert attempts == ["1"] * JOBS
        assert "ledger back" in roles.log("worker")
    finally:
        services.runtime.close()
        ledger.close()
