"""A run: starts everything, carries the plan out, drains, gathers, judges.

Called by `python -m chaos`. Everything listens on 127.0.0.1 and ends with it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests

from chaos.callers import Callers
from chaos.drain import Drain
from chaos.judge import Count, Effect, Ended, Letter, Observed, judge, overlaps, table
from chaos.observer import Observer, forms, letters, read_attempts, read_effects
from chaos.plan import FOREIGN, LEASE, STEWARDS, TARGETS, WORKERS, Event, Plan
from chaos.roles import Roles
from chaos.strangers import Strangers
from sealwax.keys.hmac import KeyedHashes
from sealwax.keys.keyring import Keyring
from sealwax.keys.lifecycle import init_keys, rotate_keys
from sealwax.local import configuration as local
from sealwax.local.emulator import Emulator, client_variables
from sealwax.local.ports import HOST, free_port
from sealwax.local.preparation import ensure_demo_secret, ensure_token
from sealwax.local.supervisor import Program, Supervisor
from sealwax.provision import provision
from sealwax.settings import load_settings
from sealwax.stores import Stores

__all__ = ["Suite"]

TESTS = Path(__file__).parent.parent
PREFIX = "sealwax-chaos"
#: Seconds without any progress after which what is left will never end.
STUCK_SECONDS = 120.0


def settings_text(sandbox: int, api: int) -> str:
    """Return sealwax.toml: two lanes, short leases, routes to the sandbox."""
    base = f"http://{HOST}:{sandbox}"
    rule = f'{{cidrs = ["{HOST}/32"], schemes = ["http"], ports = [{sandbox}]}}'
    routes = "\n".join(
        f'[tasks.webhooks.routes.{name}]\nurl = "{base}/hooks/{name}"\n'
        f'secret = "{local.DEMO_SECRET}"\nrule = {rule}\n'
        for name in ("healthy", "refused", "down")
    )
    return f"""\
environment = "chaos"
public_url = "http://{HOST}:{api}"
task_modules = ["chaos.tasks"]
secrets_refresh_seconds = 60

[limits]
unknown_task_seconds = 5
# Jobs of a downstream that is down are to use up their attempts, and to end.
route_failures = 0
unknown_key_seconds = 30
stop_seconds = 30

[lanes.default]
lease = {LEASE}
poll = 5
concurrency = 4

[lanes.threads]
pool = "threads"
lease = {LEASE}
poll = 5
concurrency = 4

[tasks.webhooks]
default_route = "healthy"
{routes}
[tasks.customers]
internal_url = "{base}/internal/customers/{{id}}"
internal_rule = {rule}
crm_url = "{base}/crm/contacts/{{id}}"
crm_rule = {rule}

[tasks.exports]
bucket = "{PREFIX}-payloads"
"""


class Suite:
    """One run in a folder of its own.

    Parameters
    ----------
    say
        Called with each line of progress.
    """

    #: Seconds that draining may take in all.
    drain_seconds = 1_200.0

    def __init__(self, plan: Plan, folder: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._say = say
        self._mark = f"CANARY{random.Random(f'mark {plan.seed}').getrandbits(64):016x}"
        self._began = 0.0
        self._ordering = threading.Lock()

    def run(self) -> list[Count]:
        """Run; return the counts. Prints the table and writes `chaos.json`."""
        with ExitStack() as stack:
            self._prepare(stack)
            self._carry_out()
            drained = self._drain()
            return self._gather(drained=drained)

    # -- before

    def _prepare(self, stack: ExitStack) -> None:
        folder = self._folder
        (folder / "state").mkdir(parents=True, exist_ok=True)
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        emulator = stack.enter_context(Emulator(log=logs / "aws.log"))
        supervisor = stack.enter_context(Supervisor(logs))
        apis, sandbox = [free_port(), free_port()], free_port()
        config = folder / "sealwax.toml"
        config.write_text(settings_text(sandbox, apis[0]))
        direct = local.emulated(str(config), emulator.client_variables)
        for name in [name for name in os.environ if name.startswith(("AWS_", "SEALWAX_"))]:
            del os.environ[name]
        os.environ.update(direct)
        self._settings = settings = load_settings()
        stores = Stores(settings)
        self._aws = aws = stores.aws
        provision(settings, aws)
        self._source = source = stores.source
        init_keys(settings, source)
        secret = ensure_demo_secret(source)
        token = ensure_token(stores, former=folder / "none")

        self._proxy, port = self._start_proxy(stack, emulator.port)
        environment = local.child_environment(str(config), client_variables(port)) | {
            "CHAOS_JOURNAL": str(folder / "journal.jsonl"),
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        }
        self._sandbox = f"http://{HOST}:{sandbox}"
        environment = self._adapt(environment)
        supervisor.start(
            Program(
                name="sandbox",
                command=[
                    sys.executable, "-m", "sealwax.local.sandbox",
                    "--port", str(sandbox), "--state-dir", str(folder / "state"),
                ],
                environment=os.environ | {"SEALWAX_SANDBOX_SECRET": secret},
                ready=lambda log: "ready" in log.read_text(),
            )
        )  # fmt: skip
        for name, status in (("refused", 400), ("down", 503)):
            requests.put(
                f"{self._sandbox}/control/{name}", json={"fail": {"status": status}}, timeout=10
            ).raise_for_status()
        self._roles = Roles(supervisor, self._commands(apis), environment, _serves(apis))
        self._roles.start_all()
        self._callers = Callers(
            [f"http://{HOST}:{api}" for api in apis], token, self._mark, self._sandbox
        )
        self._strangers = self._make_strangers(
            aws.client("sqs"),
            aws.client("sqs").get_queue_url(QueueName=settings.queue_name("default"))["QueueUrl"],
            Keyring.load("api", source.get("api/keys"), source.get("shared/keyring")),
            KeyedHashes.load(source.get("shared/hmac")),
            "local",
        )
        self._say(f"all roles serve: {', '.join(self._commands(apis))}")

    def _adapt(self, environment: dict[str, str]) -> dict[str, str]:
        """Return the environment of the roles."""
        return environment

    def _make_strangers(self, *arguments: Any) -> Strangers:
        return Strangers(*arguments)

    def _start_proxy(self, stack: ExitStack, upstream: int) -> tuple[subprocess.Popen[str], int]:
        command = [
            sys.executable, "-m", "chaos.proxy", str(upstream), str(self._plan.seed),
            str(self._folder), *forms(self._mark),
        ]  # fmt: skip
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        )

        def end() -> None:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
            process.wait(20)
            if process.stdout:
                process.stdout.close()

        stack.callback(end)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    def _order(self, word: str) -> None:
        assert self._proxy.stdin is not None
        assert self._proxy.stdout is not None
        with self._ordering:
            self._proxy.stdin.write(word + "\n")
            self._proxy.stdin.flush()
            # It repeats the word when it is done.
            self._proxy.stdout.readline()

    def _commands(self, apis: list[int]) -> dict[str, list[str]]:
        program = [sys.executable, "-m", "sealwax"]
        commands = {
            f"api-{letter}": [
                *program,
                "api",
                *f"--port {port} --health-port 0 --threads 8".split(),
            ]
            for letter, port in zip("ab", apis, strict=True)
        }
        commands |= {name: [*program, "worker", "--lane", "default"] for name in WORKERS[:2]}
        commands[WORKERS[2]] = [*program, "worker", "--lane", "threads"]
        if self._plan.stewards:
            commands |= {name: [*program, "steward"] for name in STEWARDS}
        return {name: commands[name] for name in TARGETS if name in commands}

    # -- the run

    def _carry_out(self) -> None:
        plan = self._plan
        self._began = time.time()
        if plan.events:
            self._order("arm")
        threads = [threading.Thread(target=self._events, daemon=True)]
        threads[0].start()
        for one in plan.submissions:
            time.sleep(max(0.0, self._began + one.at - time.time()))
            if one.kind in FOREIGN:
                accepted = self._callers.accepted
                healthy = [job for job in accepted[-50:] if job.expect is None]
                self._strangers.send(one, healthy[-1].job if healthy else None)
            else:
                self._callers.put(one)
            if one.number % 500 == 499:
                self._say(
                    f"{self._now():5.0f} s  {one.number + 1} submitted, "
                    f"{len(self._callers.accepted)} accepted, {self._callers.waiting()} wait"
                )
        for thread in threads:
            thread.join()
        self._order("disarm")

    def _now(self) -> float:
        return time.time() - self._began

    def _events(self) -> None:
        """Begin each event at its time; those of one role wait for each other."""
        begun = []
        for event in self._plan.events:
            time.sleep(max(0.0, event.at - self._now()))
            thread = threading.Thread(target=self._event, args=(event,), daemon=True)
            thread.start()
            begun.append(thread)
        for thread in begun:
            thread.join()

    def _event(self, event: Event) -> None:
        self._say(f"{self._now():5.0f} s  {event.verb} {event.target} {event.seconds or ''}")
        roles = self._roles
        if event.verb == "kill":
            roles.kill(event.target)
        elif event.verb == "term":
            roles.term(event.target)
        elif event.verb == "pause":
            roles.pause(event.target, event.seconds)
        elif event.verb == "child":
            roles.child(event.target, random.Random(f"{self._plan.seed} {event.at}"))
        elif event.verb == "rotate":
            self._rotate()
        elif event.verb == "cut":
            begun = time.time()
            self._order("cut")
            time.sleep(event.seconds)
            self._order("heal")
            roles.note_cut(begun)
        elif event.verb == "storm":
            # No cause of a lost lease, so nothing is noted: whatever it doubles is counted.
            self._order("storm")
            time.sleep(event.seconds)
            self._order("calm")

    def _rotate(self) -> None:
        rotate_keys(self._settings, self._source, "worker")
        self._roles.hang_up()

    # -- after

    def _states(self) -> Mapping[str, Ended]:
        return self._observer.ended()

    def _reasons(self, dead: list[dict[str, Any]]) -> list[Letter]:
        return letters(dead) + self._observer.archived()

    def _ended(self, effects: list[Effect], letters: list[Letter]) -> Mapping[str, Ended]:
        return self._observer.ended()

    def _drain(self) -> bool:
        """Wait until every accepted job has ended and nothing is left."""
        observer = self._observer = Observer(
            {name: self._aws.client(name) for name in ("sqs", "dynamodb", "s3")},
            PREFIX,
            self._mark,
        )
        self._roles.alive()
        if not self._callers.finish(2 * STUCK_SECONDS):
            self._say("some callers never heard 202; their jobs were not promised")
        last = time.monotonic() + self.drain_seconds
        end = time.monotonic() + STUCK_SECONDS
        fewest = 10**9
        drain = self._drained = Drain(observer, stewards=self._plan.stewards)
        while True:
            drain.look(self._states)
            open_ = drain.open + sum(drain.left.values())
            if open_ < fewest:
                fewest = open_
                end = min(last, time.monotonic() + STUCK_SECONDS)
            late = time.monotonic() > end
            word = "drained" if drain.done else "NOT drained" if late else "draining"
            self._say(f"{self._now():5.0f} s  {word}: {dict(drain.states)}, left {drain.left}")
            if drain.done or late:
                return drain.done
            time.sleep(5.0)

    def _gather(self, *, drained: bool) -> list[Count]:
        observer, roles = self._observer, self._roles
        left = observer.left(dead=self._drained.archives)
        dead = observer.dead_messages()
        seen = Observed(
            accepted=self._callers.accepted,
            foreign=self._strangers.sent,
            letters=self._reasons(dead),
            left=left,
            lease=LEASE,
            spans=roles.spans,
        )
        roles.close()
        if self._proxy.stdin is not None:
            self._proxy.stdin.close()
        self._proxy.wait(20)
        proxy = json.loads((self._folder / "proxy.json").read_text())
        seen.effects = read_effects(self._folder / "state" / "deliveries.jsonl")
        seen.effects += observer.exported()
        seen.ended = self._ended(seen.effects, seen.letters)
        seen.attempts = read_attempts(self._folder / "journal.jsonl", roles.sessions)
        seen.canaries = observer.sightings(observer.haystacks(self._folder / "logs", dead))
        seen.canaries += proxy["sightings"]
        seen.stopped = roles.stopped
        counts = judge(seen)
        self._report(seen, counts, proxy, drained=drained)
        return counts

    def _report(
        self, seen: Observed, counts: list[Count], proxy: dict[str, Any], *, drained: bool
    ) -> None:
        found = overlaps(seen)
        effects = Counter(effect.job for effect in seen.effects)
        jobs = [one.job for one in seen.accepted]
        facts = {
            "seed": self._plan.seed,
            "minutes": self._plan.minutes,
            "seconds": round(self._now(), 1),
            "drained": drained,
            "submitted": dict(Counter(one.kind for one in self._plan.submissions)),
            "accepted": dict(Counter(one.kind for one in seen.accepted)),
            "answers": dict(self._callers.answers),
            "slowest_acceptance_seconds": round(self._callers.slowest, 1),
            "states": dict(Counter(one.state for one in seen.ended.values())),
            "letters": dict(Counter(f"{one.reason}, {one.place}" for one in seen.letters)),
            "attempts": len(seen.attempts),
            "effects": len(seen.effects),
            "jobs_with_more_than_one_effect": sum(effects[job] > 1 for job in jobs),
            "overlaps": [asdict(one) for one in found],
            "done": dict(self._roles.done),
            "aws_calls": sum(proxy["calls"].values()),
            "aws_faults": proxy["faults"],
            "counts": [asdict(one) | {"passed": one.passed} for one in counts],
            "refused": self._callers.refused[:20],
        }
        (self._folder / "chaos.json").write_text(json.dumps(facts, indent=1))
        for one in found:
            self._say(
                f"overlap: {one.job} attempts {one.first.number} on {one.first.process} and "
                f"{one.second.number} on {one.second.process}, "
                f"{one.second.start - one.first.start:.1f} s apart; {one.cause or 'NO CAUSE'}"
            )
        for name, value in facts.items():
            if name not in {"counts", "overlaps"}:
                self._say(f"{name}: {value}")
        self._say(table(counts))


def _serves(apis: list[int]) -> Callable[[str, Path], bool]:
    ports = dict(zip(("api-a", "api-b"), apis, strict=True))

    def ready(name: str, log: Path) -> bool:
        if name in ports:
            try:
                url = f"http://{HOST}:{ports[name]}/healthz"
                return requests.get(url, timeout=2).status_code == 200
            except requests.RequestException:
                return False
        return "ready" in log.read_text(errors="replace")

    return ready
