"""Rate limits by tenant."""

from __future__ import annotations

from support.problems import problem


def test_a_flood_of_one_tenant_is_429_and_leaves_the_others_alone(client, app, auth) -> None:
    from sealwax.web.rate_limits import RateLimiter

    services = app.extensions["sealwax"]
    app.extensions["sealwax"] = type(services)(
        **{**vars(services), "limiter": RateLimiter(0.01, 2)}
    )
    answers = [client.get("/v1/tasks", headers=auth) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    problem(answers[-1], 429, "rate-limited")
    assert int(answers[-1].headers["Retry-After"]) >= 1
    other = services.tokens.issue(tenant="rival", scopes=["jobs:read"]).token
    assert client.get("/v1/tasks", headers={"Authorization": f"Bearer {other}"}).status_code == 200
