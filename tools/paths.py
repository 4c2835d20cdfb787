"""Length of the two paths that every job takes: hops to its queue, layers to its function.

    python tools/paths.py           prints both paths, step by step
    python tools/paths.py --json    prints the counts

One `POST /v1/jobs` runs through the real Flask app, Celery, kombu and boto3 to
an SQS endpoint on 127.0.0.1 (`bench/sqs_server.py`); then a real worker with a
prefork pool receives that message and runs its task. Only DynamoDB is in
memory. `sys.setprofile` sees each call. No time is measured.

**Hops**: the distinct functions of ours that run between the request and the
HTTP request to SQS, on both threads that take part, in their order. What runs
but is no hop stands in `VALUES` and `DETAILS` below, with the reason; whatever
is not listed counts, so that a new function on the way is a hop until somebody
says why it is none. The first request of a process, which makes clients and
learns addresses, is not the one that is measured.

The way ends where the HTTP request begins: what `HTTP_CLIENT` names stands in urllib3's
place, and counts as little as urllib3 does.

**Layers**: the functions through which a message sinks to its task, each called
by the one before or handed the work by it: those on the stack of the receiving
thread when it hands a delivery over, on the event loop's when it hands the
task to the pool, and on the child's when the task's function begins. Ours count,
and those of kombu and Celery in between in the main process; what the pool runs
in the child before our task class belongs to the fork, and does not count.
`NOT_LAYERS` has the reasons for three of ours that do not.

A reviewer who read both paths at commit 7887fdf counted 31 hops and 19 layers.
The lists are what he had passed over, and nothing else: there, by the names of
that commit, these rules give his 31, one by one, and 19. `frames` has both
counts without the lists (properties, constructors, lambdas and comprehensions
left out): 86 and 23 there.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import structlog
from pydantic import BaseModel

__all__ = ["HOPS", "LAYERS", "Counts", "Recorder", "hops", "layers", "measure"]

ROOT = Path(__file__).resolve().parents[1]

#: What the two paths may have at most.
HOPS = 24
LAYERS = 14

#: Seconds that the worker has for one job, from its start.
PATIENCE = 60.0

#: Modules that hold values, sums and names: a look at one is no step of a job.
VALUES = frozenset(
    {
        "aws/backoff", "aws/clients", "aws/clock", "aws/shards", "aws/sqs",
        "envelope/private_keys", "envelope/public_keys", "envelope/verify",
        "keys/public", "ledger/entry", "runtime", "settings",
        "telemetry/counters", "transport/batching", "transport/validation",
        "web/rate_limits", "web/services",
    }
)  # fmt: skip

#: Modules that send the HTTP request at the end of the way, as urllib3 does otherwise.
HTTP_CLIENT = frozenset({"aws/kept_connection"})

#: Functions that a reader of the path does not open, by the reason.
DETAILS = {
    "flask's and botocore's hooks, at every request": (
        "web/app:create_app._begin", "web/app:create_app._end", "aws/clients:Aws._count",
        "transport/channel:Channel.encode_body",
    ),
    "a part of what its caller, a hop, returns": (
        "aws/dynamodb:value_of",
        "web/tokens:TokenStore.digest", "web/tokens:TokenStore.look_up_digest",
        "keys/hmac:TokenDigest.digest", "keys/hmac:_mac", "keys/hmac:_active",
        "keys/hmac:_canonical", "keys/hmac:KeyedHashes._fingerprint",
        "keys/hmac:KeyedHashes.fair_group", "keys/hmac:KeyedHashes.fingerprint",
        "keys/hmac:KeyedHashes.job_id_candidates",
        "web/body:_unique", "json_limits:check_json", "web/jobs:_seconds",
        "producer/submit:encode_payload", "envelope/format:encode_header",
        "envelope/seal:sealed_size", "transport/publishing:_pick", "transport/publishing:_delay",
        "aws/sigv4:SigV4Signer._signing_key",
        "transport/sqs_http:SqsHttpClient.send_message_batch",
    ),
    "a look at something held": (
        "aws/direct_calls:_traced", "transport/batcher:_interruptible",
        "web/auth:principal", "web/tokens:Principal.allows", "web/jobs:_enricher",
        "producer/submit:Submitter._job_id", "transport/engine:Engine.patient_url",
        "transport/engine:Engine.url", "transport/engine:Engine.calls",
    ),
    "the batcher's own thread, between two hops": (
        "transport/batcher:Batcher._add_thread", "transport/batcher:Batcher._run",
        "transport/batcher:Batcher._next", "transport/batcher:Batcher._wait",
        "transport/batcher:Batcher._attempt", "transport/batcher:Batcher._finish",
    ),
}  # fmt: skip

#: Functions of ours on a stack that are no layer of their own, by the reason.
NOT_LAYERS = {
    "what its thread runs": ("transport/receiver:Receivers._main",),
    "take, once the pool has a slot": ("transport/celery/fair_queue:FairQueue._next",),
    "Celery's tracer": ("transport/celery/task:without_traceback.trace",),
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The two paths: their steps by rule, and all frames."""

    hops: list[str]
    layers: list[str]
    frames: dict[str, int]


@dataclass
class Recorder:
    """Sees calls, by `sys.setprofile`, on every thread that starts after `install`.

    Parameters
    ----------
    roots
        Folders whose functions are ours, with the prefix that their names lose.
    hand_overs
        Functions at whose call the stack is kept, the first time, by a name of ours.
    """

    roots: dict[str, str]
    hand_overs: dict[CodeType, str] = field(default_factory=dict)
    recording: bool = False
    called: dict[CodeType, None] = field(default_factory=dict)
    stacks: dict[str, list[str]] = field(default_factory=dict)

    def install(self) -> None:
        """Begin to see calls, on this thread too."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.recording or event != "call":
            return
        if frame.f_code.co_filename.startswith(tuple(self.roots)):
            self.called[frame.f_code] = None
        where = self.hand_overs.get(frame.f_code)
        if where is not None and where not in self.stacks:
            self.stacks[where] = self.stack(frame)

    def functions(self) -> list[str]:
        """Return the names of the functions that were called, in their order; no properties."""
        looks = set(_getters([prefix.split("/")[0] or "sealwax" for prefix in self.roots.values()]))
        names = [self.name(code) for code in self.called if code not in looks]
        ours = [name for name in names if name and name.partition(":")[0] not in HTTP_CLIENT]
        return list(dict.fromkeys(ours))

    def name(self, code: CodeType) -> str | None:
        """Return a function's module and name; None where it is none of ours, or no named one."""
        for root, prefix in self.roots.items():
            if code.co_filename.startswith(root):
                if "/testing/" in code.co_filename:  # stands for DynamoDB here
                    return None
                module = prefix + code.co_filename[len(root) :].removesuffix(".py").lstrip("/")
                qualified = code.co_qualname.replace(".<locals>", "")
                last = qualified.rpartition(".")[2]
                named = "<" not in qualified and not (last.startswith("__") and last.endswith("__"))
                return f"{module}:{qualified}" if named else None
        return None

    def stack(self, frame: FrameType | None) -> list[str]:
        """Return the names on a stack, the outermost first: ours, and those of kombu and Celery."""
        found: list[str] = []
        while frame is not None:
            name = self.name(frame.f_code)
            _, library, path = frame.f_code.co_filename.rpartition("/site-packages/")
            if name is not None:
                found.append(name)
            elif library and path.split("/")[0] in ("celery", "kombu", "billiard"):
                found.append(f"{path}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        return found[::-1]


def hops(
    called: Iterable[str], *, values: frozenset[str] = VALUES, details: Iterable[str] | None = None
) -> list[str]:
    """Return those of the functions that ran which are hops, in their order."""
    listed = set(_flat(DETAILS) if details is None else details)
    return [name for name in called if name.partition(":")[0] not in values and name not in listed]


def layers(
    receiving: list[str], loop: list[str], child: list[str], *, passed: Iterable[str] | None = None
) -> list[str]:
    """Return the layers on three stacks, the outermost first.

    Parameters
    ----------
    receiving, loop, child
        Of the receiving thread at its hand-over, of the event loop when it
        enters the pool's own function, and of the child when the task begins.
    """
    listed = set(_flat(NOT_LAYERS) if passed is None else passed)
    first = next(place for place, name in enumerate(loop) if ".py:" not in name)
    ours = [name for name in child if ".py:" not in name]
    return [name for name in [*receiving, *loop[first:], *ours] if name not in listed]


def _getters(packages: Iterable[str]) -> Iterator[CodeType]:
    """Yield the code of each property of the packages' classes."""
    tops = tuple(packages)
    modules = [m for name, m in list(sys.modules.items()) if name.split(".")[0] in tops]
    for module in modules:
        for cls in [each for each in vars(module).values() if isinstance(each, type)]:
            for attribute in vars(cls).values():
                getter = getattr(attribute, "fget", None) or getattr(attribute, "func", None)
                if getter is not None and hasattr(getter, "__code__"):
                    yield getter.__code__


def _flat(by_reason: dict[str, tuple[str, ...]]) -> Iterator[str]:
    for names in by_reason.values():
        yield from names


# -- what is measured -----------------------------------------------------------------


class Payload(BaseModel):
    """The payload of the measured job."""

    text: str


@contextlib.contextmanager
def sqs() -> Iterator[str]:
    """Run the SQS of the benchmarks; yield its URL."""
    command = [sys.executable, str(ROOT / "bench" / "sqs_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield next(iter(server.stdout or ())).strip()
        finally:
            server.kill()


def measure() -> Counts:
    """Submit one job and run it; return the two paths. Once in a process: it forks a worker."""
    with sqs() as url, tempfile.TemporaryDirectory() as folder:
        names = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        os.environ.update(dict.fromkeys(names, "local-1"), AWS_ENDPOINT_URL=url)
        configuration = Path(folder) / "sealwax.toml"
        configuration.touch()
        os.environ["SEALWAX_CONFIG"] = str(configuration)
        return _measure(Path(folder) / "stack.json")


def _measure(noted: Path) -> Counts:
    import billiard.pool

    from sealwax.job import Job
    from sealwax.keys.documents import KeyDocuments
    from sealwax.keys.hmac import TokenDigest
    from sealwax.ledger import Ledger
    from sealwax.runtime import Runtime
    from sealwax.settings import Settings
    from sealwax.task_definition import task
    from sealwax.testing.dynamodb import FakeDynamoDB
    from sealwax.transport.transport import Transport
    from sealwax.web.app import create_app
    from sealwax.web.services import make_services
    from sealwax.web.tokens import TOKEN_KEY, TokenStore
    from sealwax.worker.app import make_app

    recorder = Recorder(
        roots={str(ROOT / "sealwax"): ""},
        hand_overs={
            Transport.arrived.__code__: "receiving",
            billiard.pool.Pool.apply_async.__code__: "pool",
        },
    )

    @task(name="paths.measured", contract=Payload)
    def measured(payload: Payload, job: Job) -> None:  # noqa: ARG001 - as every task's
        """Note the stack that it is called on."""
        stack = recorder.stack(inspect.currentframe())
        noted.with_suffix(".new").write_text(json.dumps(stack))
        noted.with_suffix(".new").rename(noted)

    settings = Settings(environment="paths", task_modules=["none"], lanes={"default": {"poll": 1}})
    _make_queues(settings)
    secrets = KeyDocuments.create(settings.suite, int(time.time())).secrets()
    source = _Secrets(secrets)
    jobs: Any = FakeDynamoDB()
    ledger = Ledger(jobs, "jobs", keep=1_000.0)
    served = {measured.name: measured}
    edge = make_services(
        settings, runtime=Runtime(settings, "api", served, source=source, ledger=ledger)
    )
    table: Any = _OneItem()
    digest = TokenDigest.load(secrets[TOKEN_KEY])
    # Known from the first request on, however slow the machine is.
    tokens = TokenStore(table, "tokens", digest, cache_seconds=3_600)
    token = tokens.issue(tenant="acme", scopes=["jobs:submit"]).token
    client = create_app(services=replace(edge, tokens=tokens)).test_client()

    def submit() -> None:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": os.urandom(8).hex()}
        body = {"task": measured.name, "payload": {"text": "x"}}
        answer = client.post("/v1/jobs", json=body, headers=headers)
        if answer.status_code != 202:
            raise RuntimeError(answer.text)

    # Standard output is for the counts.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    recorder.install()
    submit()  # makes clients by boto3, and learns from that how their requests are made
    submit()
    recorder.recording = True
    submit()
    recorder.recording = False
    called = recorder.functions()

    runtime = Runtime(settings, "worker", served, source=source, ledger=ledger)
    app = make_app(settings, served, runtime, lane="default")
    recorder.recording = True
    _work(app, settings.queue_name("default"), until=noted)
    sys.setprofile(None)
    receiving, loop = recorder.stacks["receiving"], recorder.stacks["pool"][:-1]
    child = json.loads(noted.read_text())
    everything = layers(receiving, loop, child, passed=())
    return Counts(
        hops=hops(called),
        layers=layers(receiving, loop, child),
        frames={"hops": len(called), "layers": len(everything)},
    )


def _make_queues(settings: Any) -> None:
    import boto3

    client = boto3.client("sqs")
    for name in (settings.dead_letter_queue_name("default"), settings.queue_name("default")):
        client.create_queue(QueueName=name)


def _work(app: Any, queue: str, *, until: Path) -> None:
    """Run a worker with one child until a file is there."""
    from celery.worker import state

    worker = app.Worker(
        pool="prefork", concurrency=1, queues=[queue], hostname="paths@local", loglevel="ERROR",
        without_gossip=True, without_mingle=True, without_heartbeat=True, quiet=True,
    )  # fmt: skip

    def stop() -> None:
        end = time.monotonic() + PATIENCE
        while not until.exists() and time.monotonic() < end:
            time.sleep(0.05)
        state.should_stop = 0

    threading.Thread(target=stop, daemon=True).start()
    worker.start()


@dataclass
class _Secrets:
    values: dict[str, str] = field(repr=False)

    def get(self, name: str) -> str:
        return self.values[name]

    def version(self, name: str) -> int:
        return int(name in self.values)

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        raise NotImplementedError


class _OneItem:
    """A table of tokens with one token in it."""

    def __init__(self) -> None:
        self._item: dict[str, Any] = {}

    def put_item(self, **request: Any) -> dict[str, Any]:
        self._item = request["Item"]
        return {}

    def get_item(self, **_: Any) -> dict[str, Any]:
        return {"Item": self._item}


def main() -> int:
    """Print the paths; return 1 where one is longer than it may be."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = measure()
    if arguments.json:
        short = {"hops": len(found.hops), "layers": len(found.layers), "frames": found.frames}
        print(json.dumps(short))
    else:
        for title, path in (("hops", found.hops), ("layers", found.layers)):
            print(f"{len(path)} {title} ({found.frames[title]} frames)")
            print("".join(f"  {name}\n" for name in path))
    return int(len(found.hops) > HOPS or len(found.layers) > LAYERS)


if __name__ == "__main__":
    raise SystemExit(main())
