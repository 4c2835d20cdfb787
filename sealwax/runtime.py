"""What a running role holds: settings, clients, keys and secrets, read once at start.

The API and the worker each make one `Runtime`. Secrets are read when it is
made and again by timer, on SIGHUP, or when an envelope names an unknown key;
never for a job. A forked child calls `renew_after_fork` through `current`: it
keeps the secrets and makes clients of its own.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import structlog

from sealwax.aws.clock import AWS_CLOCK
from sealwax.control.table import ControlTable
from sealwax.deadletters.service import Letters
from sealwax.errors import SealwaxError
from sealwax.keys.hmac import KeyedHashes
from sealwax.keys.keyring import Keyring
from sealwax.keys.provenance import Evidence
from sealwax.keys.public import SHARED, PublicKeyring
from sealwax.ledger import Ledger, LedgerEntry
from sealwax.outbox.payloads import PayloadStore
from sealwax.outbox.store import Outbox
from sealwax.secrets import SecretSource, SecretsUnreachable
from sealwax.settings import Settings
from sealwax.stores import Stores
from sealwax.task_definition import TaskDefinition

__all__ = ["START_PATIENCE", "Runtime"]

log = structlog.get_logger("sealwax.runtime")

Role = Literal["api", "worker", "steward"]

#: Seconds for which a role that starts waits for its secrets: one that ended
#: instead would be started again and again while KMS or DynamoDB is away.
START_PATIENCE = 120.0

#: Least seconds between two readings that unknown key ids ask for: a flood of
#: forged messages must not become a flood of KMS calls.
_ON_DEMAND_SECONDS = 5.0


def _pause(seconds: float) -> None:
    time.sleep(seconds)


@dataclass(frozen=True)
class _Loaded:
    keyring: PublicKeyring
    hashes: KeyedHashes
    secrets: Mapping[str, str]
    read_at: float

    def __repr__(self) -> str:
        return f"_Loaded(secrets={sorted(self.secrets)})"


class Runtime:
    """One role's settings, clients and secrets.

    Parameters
    ----------
    role
        `api`, `worker` or `steward`: names the secrets it may read.
    definitions
        The tasks it serves; a worker also reads the secrets they declare.
    lane
        A worker's lane: it reads the keys of this lane alone. None: of all
        lanes, as tests do; the policies of `ecs/` let no worker do that.
    source, ledger
        Default: as the settings say.
    patience
        Seconds for which it waits for secrets that cannot be reached at first.
    clock
        Epoch seconds: AWS's, so that leases, due times and expiries mean the same to
        all. Reading the secrets tells it, before the first job is claimed.

    Raises
    ------
    SealwaxError
        Where a secret is missing or cannot be read, or a task's configuration
        is wrong; says what to do.
    """

    def __init__(
        self,
        settings: Settings,
        role: Role,
        definitions: Mapping[str, TaskDefinition[Any]],
        *,
        lane: str | None = None,
        source: SecretSource | None = None,
        ledger: Ledger | None = None,
        patience: float = 0.0,
        clock: Callable[[], float] = AWS_CLOCK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.role: Role = role
        self.lane = lane
        self.definitions = dict(definitions)
        self.clock = clock
        self._monotonic = monotonic
        self._own_source = source
        self._own_ledger = ledger
        self._lock = threading.Lock()
        self._timer: threading.Thread | None = None
        self._stopping = threading.Event()
        self._pid = os.getpid()
        # Shared with forked children: how often somebody asked for a refresh.
        self._asked = mmap.mmap(-1, 8)
        self._asked_seen = 0
        # Shared too: counts up when an attempt could not reach the ledger. Written
        # by many at once; only that it changes matters.
        self._failures = mmap.mmap(-1, 8)
        self._connect()
        for definition in self.definitions.values():
            if definition.configure is not None:
                definition.configure(settings)
            settings.queue_name(definition.lane)
            definition.policy(settings)
        self._loaded = self._read_at_last(patience)

    # -- what it holds -------------------------------------------------------------

    @property
    def keyring(self) -> Keyring:
        """The role's keys, as last read; a steward has none."""
        if not isinstance(self._loaded.keyring, Keyring):
            raise SealwaxError(f"The {self.role} holds no keys; another role seals and opens.")
        return self._loaded.keyring

    @property
    def public_keyring(self) -> PublicKeyring:
        """The public keys and the trust list, as last read; every role has them."""
        return self._loaded.keyring

    @property
    def evidence(self) -> Evidence:
        """What judging whose a message is needs: public keys, and payloads as they are stored."""
        return Evidence(
            keyring=lambda: self.public_keyring,
            fetch=self._fetch,
            refresh=self.refresh_for_unknown_key,
            entry=self._entry,
        )

    @property
    def hashes(self) -> KeyedHashes:
        """The keyed hashes, as last read."""
        return self._loaded.hashes

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secrets of the role and its tasks, as last read."""
        return self._loaded.secrets

    @property
    def payloads(self) -> PayloadStore:
        """The bucket of payloads that do not fit into a message; made when one is met."""
        return self.stores.payloads

    @property
    def outbox(self) -> Outbox:
        """What is to be sent later; made when it is first needed."""
        return self.stores.outbox

    @property
    def control(self) -> ControlTable:
        """The table of heartbeats, pauses, ticks and leader leases."""
        return self.stores.control

    @property
    def letters(self) -> Letters:
        """Dead letters, their groups and replays, and the audit log."""
        return self.stores.letters

    def task_secrets(self, definition: TaskDefinition[Any]) -> Mapping[str, str]:
        """Return the secrets that one task declared, and no others."""
        return {name: self.secrets[name] for name in definition.secrets(self.settings)}

    # -- refreshing ----------------------------------------------------------------

    def refresh(self, *, at_least: float = 0.0) -> bool:
        """Read all secrets again unless they are younger than `at_least` seconds.

        The old ones stay where reading fails. Returns whether they were read.
        """
        with self._lock:
            if self._monotonic() - self._loaded.read_at < at_least:
                return False
            try:
                self._loaded = self._read()
            except SealwaxError as error:
                log.warning("secrets not refreshed", error=type(error).__name__)
                return False
        log.info("secrets refreshed")
        return True

    def ask_all(self) -> None:
        """Refresh, and let the children of this process do so before their next task."""
        with self._lock:
            count = int.from_bytes(self._asked[:8], "big") + 1
            self._asked[:8] = count.to_bytes(8, "big")
            self._asked_seen = count
        self.refresh()

    def refresh_for_unknown_key(self) -> bool:
        """Refresh because an envelope names an unknown key; at most every 5 seconds."""
        return self.refresh(at_least=_ON_DEMAND_SECONDS)

    def refresh_if_old(self) -> bool:
        """Refresh where the timer would have, or the parent was asked to.

        For processes without a timer thread, before each task; reads nothing
        but a clock and eight bytes of memory otherwise.
        """
        asked = int.from_bytes(self._asked[:8], "big")
        if asked != self._asked_seen:
            self._asked_seen = asked
            return self.refresh()
        interval = self.settings.secrets_refresh_seconds
        if self._monotonic() - self._loaded.read_at < interval:
            return False
        return self.refresh(at_least=interval)

    def ledger_failed(self) -> None:
        """Say that the ledger could not be reached, from whichever process."""
        count = (self.ledger_failures() + 1) % 2**63
        self._failures[:8] = count.to_bytes(8, "big")

    def ledger_failures(self) -> int:
        """Return a number that changes whenever somebody said so."""
        return int.from_bytes(self._failures[:8], "big")

    def start_timer(self) -> None:
        """Start the thread that refreshes by timer (the API's way)."""

        def turn() -> None:
            while not self._stopping.wait(self.settings.secrets_refresh_seconds):
                self.refresh()

        self._timer = threading.Thread(target=turn, name="sealwax-secrets", daemon=True)
        self._timer.start()

    def close(self) -> None:
        """Stop the timer."""
        self._stopping.set()
        if self._timer is not None:
            self._timer.join(timeout=5)

    # -- processes -----------------------------------------------------------------

    def current(self) -> Runtime:
        """Return self, with clients of this process: sockets must not cross a fork."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._connect()
        return self

    def _connect(self) -> None:
        self.stores = Stores(
            self.settings, ledger=self._own_ledger, source=self._own_source, clock=self.clock
        )
        self.aws = self.stores.aws
        self.ledger = self.stores.ledger

    def _fetch(self, job_id: str, reference: str) -> str:
        # The bucket's client is made when a reference is met.
        return self.payloads.fetch(job_id, reference)

    def _entry(self, job_id: str) -> LedgerEntry | None:
        return self.ledger.get(job_id)

    def _names(self) -> Iterable[str]:
        yield "shared/hmac"
        if self.role == "steward":
            return
        if self.role == "api":
            yield "api/token-key"
            for definition in self.definitions.values():
                yield from definition.edge_secrets(self.settings)
        else:
            for definition in self.definitions.values():
                yield from definition.secrets(self.settings)

    def _read_at_last(self, patience: float) -> _Loaded:
        end = self._monotonic() + patience
        wait = 0.5
        while True:
            try:
                return self._read()
            except SecretsUnreachable as error:
                if self._monotonic() + wait > end:
                    raise
                log.warning("secrets not read yet", error=str(error), seconds=wait)
            _pause(wait)
            wait = min(2 * wait, 5.0)

    def _read(self) -> _Loaded:
        source = self.stores.source
        values = {name: source.get(name) for name in dict.fromkeys(self._names())}
        keyring: PublicKeyring
        if self.role == "steward":
            keyring = PublicKeyring.load(source.get(SHARED))
        else:
            keyring = Keyring.read(self.role, source.get, lane=self.lane)
        return _Loaded(
            keyring=keyring,
            hashes=KeyedHashes.load(values.pop("shared/hmac"), clock=self.clock),
            secrets=MappingProxyType(values),
            read_at=self._monotonic(),
        )
