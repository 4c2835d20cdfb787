"""boto3 clients, made by the process that uses them, each with time-outs.

Nobody else creates a client. Every call is counted by service and operation in
`Aws.calls`, so that tests and benchmarks can say how many calls a job costs.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from pydantic import BaseModel, ConfigDict, Field

from sealwax.aws.clock import AWS_CLOCK, AwsClock
from sealwax.aws.dynamodb_http import DynamoDbHttpClient
from sealwax.aws.rate import AdaptiveRate
from sealwax.errors import ConfigurationError

if TYPE_CHECKING:
    from types_boto3_dynamodb.client import DynamoDBClient
    from types_boto3_kms.client import KMSClient
    from types_boto3_s3.client import S3Client
    from types_boto3_sqs.client import SQSClient

__all__ = ["Aws", "AwsTimeouts"]


class AwsTimeouts(BaseModel):
    """Time-outs of one AWS call, in seconds, and how often it is tried."""

    model_config = ConfigDict(extra="forbid")

    connect: float = Field(2, gt=0, le=60, description="Seconds until a connection must stand.")
    read: float = Field(
        5,
        gt=0,
        le=60,
        description="Seconds until an answer must begin; long polls add their waiting time.",
    )
    attempts: int = Field(
        3, ge=1, le=10, description="Attempts of one call to AWS, the first included."
    )
    slow_down: float = Field(
        1,
        ge=0,
        le=5,
        description="Most seconds that an attempt is held up while DynamoDB throttles this "
        "process, so that it sends what DynamoDB takes; 0: it is never held up.",
    )
    direct: bool = Field(
        default=True,
        description="Whether calls on DynamoDB's items go without boto3's models, for a third of "
        "the processor time. Off: all go by boto3, as they do while a tracer patches it.",
    )


#: The key of the client of all stores.
_DYNAMODB = ("client", "dynamodb", "[]")


class Aws:
    """A boto3 session with our time-outs, counting its calls.

    Clients are made on first use and kept; they are thread-safe. After a fork,
    make a new `Aws`: sockets must not be shared.

    Parameters
    ----------
    timeouts
        Connect and read time-outs in seconds, attempts by call.
    region
        Default: AWS_REGION, else boto3's own answer: AWS_DEFAULT_REGION, or that
        of the profile that AWS_PROFILE names.
    endpoint_url
        Of all services; default: boto3's own answer.
    keys
        Access key id and secret access key; default: boto3 finds credentials.
    clock
        Hears what the clients are answered; their requests are signed by it.
    """

    def __init__(
        self,
        timeouts: AwsTimeouts | None = None,
        region: str | None = None,
        *,
        endpoint_url: str | None = None,
        keys: tuple[str, str] | None = None,
        clock: AwsClock = AWS_CLOCK,
    ) -> None:
        self.clock = clock
        self.timeouts = timeouts or AwsTimeouts.model_validate({})
        self._region = region or os.environ.get("AWS_REGION") or ""
        self._endpoint_url = endpoint_url
        self._keys = keys or (None, None)
        self.calls: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._session: Any = None
        self._clients: dict[Any, Any] = {}
        slow_down = self.timeouts.slow_down
        # What DynamoDB throttles is this process, whichever client it calls by.
        self._rate = AdaptiveRate(slow_down) if slow_down > 0 else None

    @property
    def region(self) -> str:
        """The region of all clients, asked for when the first one is made.

        Raises
        ------
        ConfigurationError
            Where nobody names one: a default would be somebody else's.
        """
        if not self._region:
            self._region = _own_region()
        return self._region

    @overload
    def client(self, service: Literal["sqs"], **overrides: Any) -> SQSClient: ...
    @overload
    def client(self, service: Literal["dynamodb"], **overrides: Any) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["s3"], **overrides: Any) -> S3Client: ...
    @overload
    def client(self, service: Literal["kms"], **overrides: Any) -> KMSClient: ...
    @overload
    def client(self, service: str, **overrides: Any) -> Any: ...
    def client(self, service: str, **overrides: Any) -> Any:
        """Return the client of a service; `overrides` go to botocore's Config."""
        return self._make("client", service, overrides)

    def resource(self, service: str) -> Any:
        """Return the resource of a service (credstash wants one)."""
        return self._make("resource", service, {})

    def _make(
        self, kind: str, service: str, overrides: dict[str, Any], endpoint_url: str | None = None
    ) -> Any:
        key = (kind, service, repr(sorted(overrides.items())))
        with self._lock:
            if key not in self._clients:
                self._session = self._session or boto3.session.Session(
                    region_name=self.region,
                    aws_access_key_id=self._keys[0],
                    aws_secret_access_key=self._keys[1],
                )
                settings: dict[str, Any] = {
                    "connect_timeout": self.timeouts.connect,
                    "read_timeout": self.timeouts.read,
                    "retries": {"total_max_attempts": self.timeouts.attempts, "mode": "standard"},
                    "max_pool_connections": 64,
                    "tcp_keepalive": True,
                } | overrides
                made = getattr(self._session, kind)(
                    service,
                    config=Config(**settings),
                    endpoint_url=endpoint_url or self._endpoint_url,
                )
                client = made if kind == "client" else made.meta.client
                client.meta.events.register("before-send", self._count)
                self.clock.register(client.meta.events)
                if service == "dynamodb" and self._rate is not None:
                    self._rate.register(client.meta.events, service)
                if key == _DYNAMODB and self.timeouts.direct:
                    made = self._direct(made)
                self._clients[key] = made
            return self._clients[key]

    def _direct(self, client: Any) -> Any:
        """Return a DynamoDB client whose calls' first tries are direct."""
        more = self.timeouts.attempts - 1
        retries = {"retries": {"total_max_attempts": more, "mode": "standard"}}
        # Where the first try went, whatever the environment says by then.
        others = partial(self._make, "client", "dynamodb", retries, client.meta.endpoint_url)
        return DynamoDbHttpClient(
            client,
            self.credentials,
            others=others if more else None,
            rate=self._rate,
            clock=self.clock,
        )

    def credentials(self) -> Any:
        """Return botocore's credentials of the session; None: it found none."""
        return self._session.get_credentials() if self._session is not None else None

    def _count(self, event_name: str, **_: Any) -> None:
        # before-send.<service>.<Operation>: one for each request on the wire,
        # retries included.
        self.calls[event_name.removeprefix("before-send.")] += 1


def _own_region() -> str:
    try:
        found = boto3.session.Session().region_name
    except BotoCoreError as error:  # AWS_PROFILE names none that there is
        raise ConfigurationError(f"AWS is not configured: {error}") from None
    if not found:
        raise ConfigurationError(
            "No AWS region is named; set AWS_REGION, or AWS_PROFILE to a profile that has one."
        )
    return found
