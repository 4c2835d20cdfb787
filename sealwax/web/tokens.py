"""Bearer tokens of the API: made, looked up, listed, revoked.

A token is 256 random bits and a keyed check of them; the table holds only a keyed
hash of it, so that a copy of the table gives no access. The API looks tokens up
and believes a look-up for some seconds; the command line issues and revokes them.

What strangers make up costs next to nothing: without the key nobody makes a
check, so that it is refused without a look at the table. Tokens from before
there were checks go on working; unknown ones of that form are looked up so
often for each address, and no more. What is not known has a memory of its own,
out of which no valid token is pushed.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sealwax.aws.clock import AWS_CLOCK
from sealwax.aws.dynamodb import Table, value_of
from sealwax.aws.errors import StoreUnreachable
from sealwax.errors import SealwaxError
from sealwax.keys.hmac import TokenDigest
from sealwax.stores import Stores
from sealwax.web.rate_limits import RateLimiter

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient

__all__ = [
    "JOB_SCOPES",
    "OPS_SCOPES",
    "SCOPES",
    "TOKEN_KEY",
    "IssuedToken",
    "Principal",
    "TokenInvalid",
    "TokenStore",
    "TokensUnreachable",
    "TooManyUnknownTokens",
    "make_tokens",
]

#: Name of the secret that tokens are hashed with.
TOKEN_KEY = "api/token-key"  # noqa: S105 - a name

#: What a token of a producer may do, each for its own tenant's jobs.
JOB_SCOPES = ("jobs:submit", "jobs:read")
#: What an operator's token may do, over all tenants: see; replay, discard, pause, drain and
#: cancel; have a dead letter's payload shown; erase.
OPS_SCOPES = ("ops:read", "ops:write", "ops:reveal", "ops:erase")
#: All of them; `jobs:submit` may be narrowed to tasks: `jobs:submit:webhooks.*`.
SCOPES = (*JOB_SCOPES, *OPS_SCOPES)

#: Every token begins so: secret scanners and people recognise it.
PREFIX = "swx_"
#: 43 characters for the 256 bits, and in tokens of today 11 for the check.
_TOKEN = re.compile(r"swx_[A-Za-z0-9_-]{43}([A-Za-z0-9_-]{11})?")
_UNCHECKED_LENGTH = len(PREFIX) + 43
_NARROWED = re.compile(r"jobs:submit:[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*(\.\*)?")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Valid tokens remembered at once, and unknown ones; the oldest goes first.
_CACHE_SIZE = 10_000
_UNKNOWN_SIZE = 1_000

#: Seconds' worth of unknown tokens that an address may send at once.
_BURST_SECONDS = 10


class TokenInvalid(SealwaxError):
    """The token is unknown or revoked; ask the operator for one (`sealwax tokens issue`)."""


class TooManyUnknownTokens(TokenInvalid):
    """Too many unknown tokens came from this address; wait, or ask for a token of today's form.

    Parameters
    ----------
    retry_after
        Seconds until one more is looked up.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class TokensUnreachable(StoreUnreachable):
    """The table of tokens does not answer; try again later."""


@dataclass(frozen=True)
class IssuedToken:
    """A new token; `token` is shown this once and stored nowhere."""

    token: str
    id: str

    def __repr__(self) -> str:
        return f"IssuedToken(id={self.id!r})"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who a token speaks for."""

    id: str
    tenant: str
    scopes: tuple[str, ...]
    label: str = ""
    created: float = 0.0

    def allows(self, scope: str, task: str | None = None) -> bool:
        """Return whether the token may do `scope`, for `task` where one is meant."""
        for granted in self.scopes:
            if granted == scope:
                return True
            if task is None or not granted.startswith(f"{scope}:"):
                continue
            pattern = granted[len(scope) + 1 :]
            if pattern == task or (pattern.endswith(".*") and task.startswith(pattern[:-1])):
                return True
        return False


class TokenStore:
    """Access to the table of tokens.

    Parameters
    ----------
    client
        A boto3 DynamoDB client with time-outs.
    table
        Name of the table.
    digest
        The keyed hash.
    cache_seconds
        How long a look-up is believed; a revoked token works at most that long.
    unknown_per_second
        Unknown tokens without a check that are looked up a second for one address;
        0 sets no limit.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        digest: TokenDigest,
        *,
        cache_seconds: float = 30,
        unknown_per_second: float = 5,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        # A caller whose token cannot be looked up is told to try again, whatever the cause.
        self._table = Table(client, table, TokensUnreachable, TokensUnreachable)
        self._digest = digest
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._cache: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        burst = max(1, round(unknown_per_second * _BURST_SECONDS))
        self._strangers = RateLimiter(unknown_per_second, burst, monotonic)
        self._lock = threading.Lock()

    def issue(
        self,
        *,
        tenant: str,
        scopes: Iterable[str],
        label: str = "",
        record: Callable[[str], None] = lambda _: None,
    ) -> IssuedToken:
        """Make a token for a tenant.

        Parameters
        ----------
        record
            Called with the token's id before it is stored; what it raises ends the work.

        Raises
        ------
        ValueError
            Where the tenant's name or a scope is not well-formed.
        TokensUnreachable
        """
        granted = tuple(scopes)
        if not _TENANT.fullmatch(tenant):
            raise ValueError(
                "a tenant is 1 to 64 letters, digits, dots, dashes and underscores, "
                "beginning with a letter or digit"
            )
        for scope in granted:
            # A narrowed scope that matches no task would be a token that may do nothing.
            if scope not in SCOPES and not _NARROWED.fullmatch(scope):
                raise ValueError(
                    f"unknown scope {scope}; use {', '.join(SCOPES)}, or jobs:submit:<task> with "
                    "a task's name or its beginning and `.*`"
                )
        if not granted:
            raise ValueError(f"a token needs a scope: {', '.join(SCOPES)}")
        token = PREFIX + self._digest.checked(secrets.token_urlsafe(32))
        token_id = secrets.token_hex(6)
        item = {
            "digest": self._digest.digest(token),
            "id": token_id,
            "tenant": tenant,
            "scopes": list(granted),
            "label": label[:100],
            "created": self._clock(),
        }
        record(token_id)
        self._table.call(
            "put_item",
            Item={name: value_of(value) for name, value in item.items()},
            ConditionExpression="attribute_not_exists(digest)",
        )
        return IssuedToken(token=token, id=token_id)

    def look_up(self, token: str, *, address: Callable[[], str] = lambda: "") -> Principal:
        """Return whom a token speaks for.

        Parameters
        ----------
        address
            Called for who asks, where that matters: those behind one share what
            unknown tokens may cost.

        Raises
        ------
        TokenInvalid
            Malformed, unknown or revoked.
        TooManyUnknownTokens
            It has no check, has not been seen to be valid, and too many unknown
            ones came from there.
        TokensUnreachable
            The table does not answer and the token is not in the cache.
        """
        return self.look_up_digest(self.digest(token), lambda: self._admit(token, address))

    def known(self, token: str) -> Principal | None:
        """Return whom a token speaks for where a look-up of it is still believed; asks nobody."""
        if not _TOKEN.fullmatch(token):
            return None
        with self._lock:
            cached = self._cache.get(self._digest.digest(token))
        return cached[1] if cached is not None and cached[0] > self._monotonic() else None

    def _admit(self, token: str, address: Callable[[], str]) -> str | None:
        """Let a token that is not in the cache be looked up; return whom an unknown one counts for.

        None where the token's check shows that it was issued.
        """
        if len(token) != _UNCHECKED_LENGTH:
            if not self._digest.is_checked(token.removeprefix(PREFIX)):
                raise TokenInvalid
            return None
        stranger = address()
        wait = self._strangers.wait(stranger)
        if wait is not None:
            raise TooManyUnknownTokens(wait)
        return stranger

    def digest(self, token: str) -> str:
        """Return the hash by which `look_up_digest` knows a token.

        Raises
        ------
        TokenInvalid
            Malformed.
        """
        if not _TOKEN.fullmatch(token):
            raise TokenInvalid
        return self._digest.digest(token)

    def look_up_digest(
        self, digest: str, admit: Callable[[], str | None] = lambda: None
    ) -> Principal:
        """Return whom a token speaks for, by its hash: for who must not keep the token.

        Parameters
        ----------
        admit
            Called before the table is asked for a hash that was not valid before.

        Raises
        ------
        TokenInvalid, TokensUnreachable
            As `look_up`.
        """
        now = self._monotonic()
        with self._lock:
            cached = self._cache.get(digest)
            unknown = self._unknown.get(digest, now) > now
        if cached is not None and cached[0] > now:
            return cached[1]
        if unknown:
            raise TokenInvalid
        # Who was valid a moment ago is no stranger, whatever comes from his address.
        stranger = admit() if cached is None else None
        principal = self._read(digest)
        self._remember(digest, now + self._cache_seconds, principal)
        if principal is None:
            if stranger is not None:
                self._strangers.take(stranger)
            raise TokenInvalid
        return principal

    def _remember(self, digest: str, until: float, principal: Principal | None) -> None:
        with self._lock:
            self._cache.pop(digest, None)
            self._unknown.pop(digest, None)
            if principal is not None:
                self._cache[digest] = (until, principal)
            else:
                self._unknown[digest] = until
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
            while len(self._unknown) > _UNKNOWN_SIZE:
                self._unknown.popitem(last=False)

    def list(self) -> list[Principal]:
        """Return all tokens' principals, oldest first; never the tokens."""
        return sorted((_principal(item) for item in self._scan()), key=lambda p: p.created)

    def revoke(self, token_id: str, *, record: Callable[[str], None] = lambda _: None) -> bool:
        """Delete a token by its id; False where there is none. `record` as in `issue`."""
        for item in self._scan():
            if item["id"]["S"] == token_id:
                record(token_id)
                self._table.call("delete_item", Key={"digest": item["digest"]})
                return True
        return False

    def _read(self, digest: str) -> Principal | None:
        answer = self._table.call("get_item", Key={"digest": {"S": digest}}, ConsistentRead=True)
        item = answer.get("Item")
        return _principal(item) if item else None

    def _scan(self) -> Iterable[dict[str, Any]]:
        start: dict[str, Any] = {}
        while True:
            page = self._table.call("scan", **start)
            yield from page.get("Items", [])
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def _principal(item: dict[str, Any]) -> Principal:
    return Principal(
        id=item["id"]["S"],
        tenant=item["tenant"]["S"],
        scopes=tuple(scope["S"] for scope in item["scopes"]["L"]),
        label=item.get("label", {}).get("S", ""),
        created=float(item.get("created", {}).get("N", 0)),
    )


def make_tokens(stores: Stores, key: str) -> TokenStore:
    """Return the table of tokens.

    Parameters
    ----------
    key
        The secret `TOKEN_KEY`, whose hashes the table holds.
    """
    return TokenStore(
        stores.dynamodb,
        stores.settings.table_name("tokens"),
        TokenDigest.load(key),
        cache_seconds=stores.settings.limits.token_cache_seconds,
        unknown_per_second=stores.settings.limits.unknown_tokens_per_second,
    )
