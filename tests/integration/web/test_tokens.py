"""Tokens: shown once, stored hashed, believed for some seconds, revoked."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from support.aws import CLIENT_VARIABLES

from sealwax.aws.clients import Aws
from sealwax.keys.hmac import TokenDigest
from sealwax.web.tokens import (
    Principal,
    TokenInvalid,
    TokenStore,
    TokensUnreachable,
    TooManyUnknownTokens,
)

DIGEST = TokenDigest(b"k" * 32)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Failing:
    """A client that fails while `error` is set."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.error: Exception | None = None
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.reads += name == "get_item"
            if self.error is not None:
                raise self.error
            return getattr(self._inner, name)(**arguments)

        return call


@pytest.fixture(scope="module")
def aws(moto_server: str) -> Iterator[Aws]:
    """Clients of moto for all tests here: they are slow to make."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CLIENT_VARIABLES.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", moto_server)
        made = Aws()
        client = made.client("dynamodb")
    yield made
    client.close()


@pytest.fixture
def table(aws: Aws) -> str:
    name = f"tokens-{uuid.uuid4().hex[:8]}"
    aws.client("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "digest", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "digest", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(aws: Aws) -> Failing:
    return Failing(aws.client("dynamodb"))


@pytest.fixture
def store(client: Failing, table: str, clock: Clock) -> TokenStore:
    return TokenStore(client, table, DIGEST, cache_seconds=30, clock=clock, monotonic=clock)


def test_an_issued_token_speaks_for_its_tenant(store: TokenStore) -> None:
    issued = store.issue(tenant="acme", scopes=["jobs:submit", "jobs:read"], label="CI")
    found = store.look_up(issued.token)
    assert found == Principal(
        id=issued.id, tenant="acme", scopes=("jobs:submit", "jobs:read"), label="CI", created=1_000
    )


def test_a_token_is_not_stored_nor_shown(store: TokenStore, aws: Aws, table: str) -> None:
    issued = store.issue(tenant="acme", scopes=["jobs:read"])
    (item,) = aws.client("dynamodb").scan(TableName=table)["Items"]
    secret = issued.token.removeprefix("swx_")
    assert secret not in json.dumps(item)
    assert item["digest"]["S"] == DIGEST.digest(issued.token)
    assert secret not in repr(issued) + str(issued) + repr(store.look_up(issued.token))


def test_tokens_never_repeat_and_are_recognisable(store: TokenStore) -> None:
    tokens = {store.issue(tenant="acme", scopes=["jobs:read"]).token for _ in range(5)}
    assert len(tokens) == 5
    assert all(token.startswith("swx_") and len(token) == 58 for token in tokens)


def test_a_copy_of_the_table_without_the_key_gives_no_access(
    store: TokenStore, aws: Aws, table: str
) -> None:
    issued = store.issue(tenant="acme", scopes=["jobs:read"])
    other = TokenStore(aws.client("dynamodb"), table, TokenDigest(b"o" * 32))
    with pytest.raises(TokenInvalid):
        other.look_up(issued.token)


@pytest.mark.parametrize(
    "token",
    ["", "swx_", "x" * 47, "swx_" + "a" * 42, "swx_" + "a" * 44, "swx_" + "a" * 42 + "+",
     "swx_" + "a" * 53, "swx_" + "a" * 54, "swx_" + "a" * 55, "swx_" + "a" * 53 + "+",
     "SWX_" + "a" * 43, "swx_" + "a" * 43 + "\n", " swx_" + "a" * 43, "swx_" + "ä" * 43],
)  # fmt: skip
def test_what_is_no_token_costs_no_read(store: TokenStore, client: Failing, token: str) -> None:
    with pytest.raises(TokenInvalid) as caught:
        store.look_up(token)
    assert client.reads == 0
    assert not token or token not in str(caught.value)


def test_an_unknown_token_is_invalid_and_asked_for_once(store: TokenStore, client: Failing) -> None:
    for _ in range(3):
        with pytest.raises(TokenInvalid) as caught:
            store.look_up("swx_" + "a" * 43)
        assert "aaaa" not in str(caught.value)
    assert client.reads == 1


def test_a_look_up_is_believed_for_its_seconds(
    store: TokenStore, client: Failing, clock: Clock
) -> None:
    token = store.issue(tenant="acme", scopes=["jobs:read"]).token
    store.look_up(token)
    clock.now += 29.9
    store.look_up(token)
    assert client.reads == 1
    clock.now += 0.1
    store.look_up(token)
    assert client.reads == 2


def test_a_token_is_known_while_its_look_up_is_believed_and_nobody_is_asked(
    store: TokenStore, client: Failing, clock: Clock
) -> None:
    token = store.issue(tenant="t", scopes=["jobs:read"]).token
    assert store.known(token) is None
    assert store.known("swx_no token") is None
    store.look_up(token)
    asked = client.reads
    assert store.known(token) == store.look_up(token)
    clock.now += 31
    assert store.known(token) is None
    assert client.reads == asked


def test_a_revoked_token_works_no_longer_than_the_cache(
    store: TokenStore, clock: Clock, aws: Aws, table: str
) -> None:
    issued = store.issue(tenant="acme", scopes=["jobs:read"])
    store.look_up(issued.token)
    # Revoked by another process: the command line.
    assert TokenStore(aws.client("dynamodb"), table, DIGEST).revoke(issued.id)
    store.look_up(issued.token)
    clock.now += 30
    with pytest.raises(TokenInvalid):
        store.look_up(issued.token)
    assert not store.revoke(issued.id)


def test_without_a_cache_revoking_works_at_once(aws: Aws, table: str) -> None:
    store = TokenStore(aws.client("dynamodb"), table, DIGEST, cache_seconds=0)
    issued = store.issue(tenant="acme", scopes=["jobs:read"])
    store.look_up(issued.token)
    store.revoke(issued.id)
    with pytest.raises(TokenInvalid):
        store.look_up(issued.token)


def test_tokens_are_listed_oldest_first_and_revoked_one_by_one(
    store: TokenStore, clock: Clock
) -> None:
    ids = []
    for tenant in ("b", "a", "c"):
        ids.append(store.issue(tenant=tenant, scopes=["jobs:read"]).id)
        clock.now += 1
    assert [principal.id for principal in store.list()] == ids
    store.revoke(ids[1])
    assert [principal.tenant for principal in store.list()] == ["b", "c"]


def test_a_listing_over_several_pages_is_whole(
    store: TokenStore, client: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        store.issue(tenant="acme", scopes=["jobs:read"])
    inner = client._inner
    scan = inner.scan
    monkeypatch.setattr(inner, "scan", lambda **arguments: scan(**arguments, Limit=2))
    assert len(store.list()) == 5


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "GetItem"),
        ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetItem"),
        EndpointConnectionError(endpoint_url="http://x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_table_that_does_not_answer_is_told_apart_from_a_bad_token(
    store: TokenStore, client: Failing, clock: Clock, error: Exception
) -> None:
    token = store.issue(tenant="acme", scopes=["jobs:read"]).token
    store.look_up(token)
    client.error = error
    store.look_up(token)  # still believed
    clock.now += 31
    with pytest.raises(TokensUnreachable, match="sealwax check") as caught:
        store.look_up(token)
    assert token not in str(caught.value)
    for call in (store.list, lambda: store.revoke("x")):
        with pytest.raises(TokensUnreachable):
            call()
    with pytest.raises(TokensUnreachable):
        store.issue(tenant="acme", scopes=["jobs:read"])
    client.error = None
    assert store.look_up(token).tenant == "acme"  # an outage is not remembered


def test_the_cache_forgets_the_oldest(
    store: TokenStore, client: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwax.web.tokens._CACHE_SIZE", 2)
    tokens = [store.issue(tenant="acme", scopes=["jobs:read"]).token for _ in range(3)]
    for token in tokens:
        store.look_up(token)
    store.look_up(tokens[2])
    assert client.reads == 3
    store.look_up(tokens[0])
    assert client.reads == 4


@pytest.mark.parametrize("tenant", ["a", "0", "acme-1.eu_x", "A" * 64])
def test_good_tenants(store: TokenStore, tenant: str) -> None:
    token = store.issue(tenant=tenant, scopes=["jobs:read"]).token
    assert store.look_up(token).tenant == tenant


@pytest.mark.parametrize("tenant", ["", "-a", ".a", "_a", "a" * 65, "a b", "a/b", "ä", "a\n"])
def test_bad_tenants_are_refused(store: TokenStore, tenant: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        store.issue(tenant=tenant, scopes=["jobs:read"])


@pytest.mark.parametrize(
    "scopes",
    [
        [],
        ["jobs"],
        ["jobs:write"],
        ["*"],
        ["jobs:submit:"],
        ["jobs:submit:*"],
        ["jobs:submit:webhooks*"],
        ["jobs:submit:Webhooks.*"],
        ["jobs:read:webhooks.*"],
        ["jobs:read", "jobs:read "],
    ],
    ids=repr,
)
def test_scopes_that_would_allow_nothing_are_refused(store: TokenStore, scopes: list[str]) -> None:
    with pytest.raises(ValueError, match="scope"):
        store.issue(tenant="acme", scopes=scopes)


@pytest.mark.parametrize(
    ("granted", "scope", "task", "allowed"),
    [
        ("jobs:read", "jobs:read", None, True),
        ("jobs:read", "jobs:submit", None, False),
        ("jobs:read", "jobs:submit", "webhooks.relay", False),
        ("jobs:submit", "jobs:submit", None, True),
        ("jobs:submit", "jobs:submit", "webhooks.relay", True),
        ("jobs:submit", "jobs:read", None, False),
        ("jobs:submit:webhooks.relay", "jobs:submit", "webhooks.relay", True),
        ("jobs:submit:webhooks.relay", "jobs:submit", "webhooks.relayed", False),
        ("jobs:submit:webhooks.relay", "jobs:submit", None, False),
        ("jobs:submit:webhooks.*", "jobs:submit", "webhooks.relay", True),
        ("jobs:submit:webhooks.*", "jobs:submit", "webhooks.a.b", True),
        ("jobs:submit:webhooks.*", "jobs:submit", "webhooksx.relay", False),
        ("jobs:submit:webhooks.*", "jobs:submit", "exports.build", False),
        ("jobs:submit:webhooks.*", "jobs:read", None, False),
    ],
)
def test_what_a_scope_allows(
    store: TokenStore, granted: str, scope: str, task: str | None, allowed: bool
) -> None:
    principal = store.look_up(store.issue(tenant="acme", scopes=[granted]).token)
    assert principal.allows(scope, task) is allowed


def without_check(store: TokenStore, client: Failing, table: str) -> str:
    """Return a valid token as they were issued before there were checks."""
    issued = store.issue(tenant="old", scopes=["jobs:read"]).token
    old = issued[:47]
    item = client.get_item(TableName=table, Key={"digest": {"S": DIGEST.digest(issued)}})["Item"]
    client.put_item(TableName=table, Item=item | {"digest": {"S": DIGEST.digest(old)}})
    client.reads = 0
    return old


def made_up(number: int) -> str:
    return f"swx_{number:043d}"


@pytest.mark.parametrize("place", [4, 20, 46, 47, 50, 57])
def test_a_token_with_one_character_changed_costs_no_read(
    store: TokenStore, client: Failing, place: int
) -> None:
    token = store.issue(tenant="acme", scopes=["jobs:read"]).token
    other = "A" if token[place] != "A" else "B"
    with pytest.raises(TokenInvalid):
        store.look_up(token[:place] + other + token[place + 1 :])
    assert client.reads == 0
    assert store.look_up(token).tenant == "acme"


def test_another_environments_check_costs_no_read(store: TokenStore, client: Failing) -> None:
    foreign = "swx_" + TokenDigest(b"o" * 32).checked("a" * 43)
    with pytest.raises(TokenInvalid):
        store.look_up(foreign)
    assert client.reads == 0


def test_a_token_from_before_checks_goes_on_working(
    store: TokenStore, client: Failing, table: str
) -> None:
    old = without_check(store, client, table)
    assert store.look_up(old).tenant == "old"
    assert store.look_up(old).tenant == "old"
    assert client.reads == 1


def test_unknown_tokens_are_looked_up_so_often_an_address_and_no_more(
    client: Failing, table: str, clock: Clock
) -> None:
    store = TokenStore(client, table, DIGEST, unknown_per_second=2, clock=clock, monotonic=clock)
    held = without_check(store, client, table)
    late = without_check(store, client, table)
    store.look_up(held, address=lambda: "192.0.2.1")
    client.reads = 0
    for number in range(500):
        with pytest.raises(TokenInvalid) as caught:
            store.look_up(made_up(number), address=lambda: "192.0.2.1")
    assert client.reads == 20  # ten seconds' worth
    assert isinstance(caught.value, TooManyUnknownTokens)
    assert caught.value.retry_after == 1
    # Neither who was known, also when his look-up is over, nor who has a check, nor who is
    # elsewhere hears of it.
    new = store.issue(tenant="acme", scopes=["jobs:read"]).token
    clock.now += 30
    for number in range(500, 600):
        with pytest.raises(TokenInvalid):
            store.look_up(made_up(number), address=lambda: "192.0.2.1")
    assert store.look_up(held, address=lambda: "192.0.2.1").tenant == "old"
    assert store.look_up(new, address=lambda: "192.0.2.1").tenant == "acme"
    assert store.look_up(late, address=lambda: "192.0.2.2").tenant == "old"
    # At the same address he waits for his turn.
    other = without_check(store, client, table)
    with pytest.raises(TooManyUnknownTokens):
        store.look_up(other, address=lambda: "192.0.2.1")
    clock.now += 0.5
    assert store.look_up(other, address=lambda: "192.0.2.1").tenant == "old"


def test_unknown_tokens_push_no_valid_one_out_of_the_cache(
    client: Failing, table: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwax.web.tokens._CACHE_SIZE", 3)
    monkeypatch.setattr("sealwax.web.tokens._UNKNOWN_SIZE", 3)
    store = TokenStore(client, table, DIGEST, unknown_per_second=0, clock=clock, monotonic=clock)
    valid = [store.issue(tenant="acme", scopes=["jobs:read"]).token for _ in range(3)]
    for token in valid:
        store.look_up(token)
    for number in range(50):
        with pytest.raises(TokenInvalid):
            store.look_up(made_up(number))
    assert client.reads == 53
    assert len(store._unknown) == 3
    for token in valid:
        store.look_up(token)
    assert client.reads == 53


def test_a_revoked_token_leaves_the_cache_of_valid_ones(store: TokenStore, clock: Clock) -> None:
    issued = store.issue(tenant="acme", scopes=["jobs:read"])
    store.look_up(issued.token)
    store.revoke(issued.id)
    clock.now += 30
    with pytest.raises(TokenInvalid):
        store.look_up(issued.token)
    assert not store._cache
