"""The same run on the vanilla configuration: stock Celery and kombu, no ledger.

`python -m chaos --stock defaults` or `--stock advised` uses it in place of
`suite.Suite`. What the product's ledger says is taken here from the suite's own
journal, in stock's favour: a job has succeeded where its effect was seen.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos.judge import Accepted, Effect, Ended, Letter
from chaos.plan import STEWARDS, TARGETS, WORKERS, Submission
from chaos.strangers import Strangers
from chaos.suite import Suite

__all__ = ["AdvisedSuite", "StockSuite", "ended_of"]

LANES = ("default", "threads")
#: What kombu creates queues with; what guides recommend is a time above the longest task's.
VISIBILITY = {"defaults": "1800", "advised": "60"}
#: What guides recommend for the dead-letter queue.
RECEIVES = 5


class StockStrangers(Strangers):
    """Forged messages as stock's workers read them: nothing is sealed."""

    def _body(self, one: Submission, victim: str | None) -> str:
        if one.kind in {"tampered", "stray"}:
            payload = {"route": "healthy", "event": "forged", "body": {"forged": one.number}}
            return self._message(uuid.uuid4().hex, payload)
        return super()._body(one, victim)


def ended_of(
    accepted: list[Accepted], effects: list[Effect], letters: list[Letter], journal: Path
) -> dict[str, Ended]:
    """Return what became of each job, as far as anybody can tell."""
    done: dict[str, float] = {}
    for line in journal.read_text().splitlines():
        note = json.loads(line)
        if note["event"] == "done":
            done[note["job"]] = min(note["at"], done.get(note["job"], note["at"]))
    seen = {effect.job for effect in effects}
    dead = {letter.job: letter for letter in letters}
    ended = {}
    for one in accepted:
        if one.job in done or one.job in seen:
            ended[one.job] = Ended(state="succeeded", finished=done.get(one.job))
        elif one.job in dead:
            ended[one.job] = Ended(state="dead", reason=dead[one.job].reason)
    return ended


class StockSuite(Suite):
    """A run of stock Celery."""

    mode = "defaults"
    # What is left then waits for a visibility time-out of half an hour.
    drain_seconds = 90.0
    python = os.environ.get("SEALWAX_STOCK_PYTHON", ".venv-stock/bin/python")

    def _adapt(self, environment: dict[str, str]) -> dict[str, str]:
        sqs = self._aws.client("sqs")
        queues = {}
        for lane in LANES:
            name = self._settings.queue_name(lane)
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
            attributes = {"VisibilityTimeout": VISIBILITY[self.mode]}
            arn = self._arn(f"{name}-dlq")
            # A count that is never reached stands for no dead-letter queue.
            receives = RECEIVES if self.mode == "advised" else 1000
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": str(receives)}
            attributes["RedrivePolicy"] = json.dumps(policy)
            sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
            # By the proxy: kombu goes where the URL says.
            path = url.split("/", 3)[3]
            queues[lane] = {"url": f"{environment['AWS_ENDPOINT_URL']}/{path}"}
        return environment | {
            "STOCK_QUEUES": json.dumps(queues),
            "STOCK_SANDBOX": self._sandbox,
            "STOCK_BUCKET": self._settings.bucket_name,
            "STOCK_ADVISED": "1" if self.mode == "advised" else "",
            "PYTHONPATH": str(Path(__file__).parent),
        }

    def _arn(self, name: str) -> str:
        sqs = self._aws.client("sqs")
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def _commands(self, apis: list[int]) -> dict[str, list[str]]:
        python = str(Path(self.python).absolute())
        app = str(Path(__file__).with_name("stock_app.py"))
        commands = {
            f"api-{letter}": [python, app, str(port)]
            for letter, port in zip("ab", apis, strict=True)
        }
        for name in WORKERS:
            lane = "threads" if name.startswith("threads") else "default"
            pool = "threads" if lane == "threads" else "prefork"
            commands[name] = [
                python, "-m", "celery", "-A", "stock_app", "worker", "-Q", lane, "-P", pool,
                "-c", "4", "-l", "INFO", "--without-gossip", "--without-mingle",
                "-n", f"{name}@%h",
            ]  # fmt: skip
        return {name: commands[name] for name in TARGETS if name not in STEWARDS}

    def _make_strangers(self, *arguments: Any) -> Strangers:
        strangers = StockStrangers(*arguments)
        # As its workers know it; an unknown name alone would end them.
        strangers.queue = "default"
        return strangers

    def _states(self) -> Mapping[str, Ended]:
        # Nobody knows; the queues alone tell whether anything waits.
        return {"": Ended(state="unknown")}

    def _rotate(self) -> None:
        """There are no keys."""

    def _reasons(self, dead: list[dict[str, Any]]) -> list[Letter]:
        found = []
        for item in dead:
            try:
                job = json.loads(_plain(item["Body"]))["headers"]["id"]
            except (ValueError, KeyError, TypeError):
                job = None
            found.append(Letter(reason="none", job=job, body=item["Body"]))
        return found

    def _ended(self, effects: list[Effect], letters: list[Letter]) -> Mapping[str, Ended]:
        return ended_of(self._callers.accepted, effects, letters, self._folder / "journal.jsonl")


def _plain(body: str) -> str:
    import base64
    import binascii

    try:
        return base64.b64decode(body, validate=True).decode()
    except (binascii.Error, ValueError):
        return body


class AdvisedSuite(StockSuite):
    """A run of stock Celery with the commonly advised settings."""

    mode = "advised"
