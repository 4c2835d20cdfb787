"""`sealwax check` names what is wrong and what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.stack import LiveStack


def test_a_sound_stack_passes(stack: LiveStack) -> None:
    done = stack.cli("check")
    assert "FAIL" not in done.stdout
    for kind in ("configuration", "queue", "dead-letter queue", "table", "key", "secret", "keys"):
        assert f"ok   {kind}" in done.stdout
    assert "ok   clock" in done.stdout


def test_a_wrong_clock_is_named(stack: LiveStack, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = Path(__file__).parents[1] / "support" / "shifted_clock"
    path = os.pathsep.join([str(shifted), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("SHIFTED_CLOCK_SECONDS", "-600")
    done = stack.cli("check", check=False)
    assert done.returncode == 1
    assert "FAIL clock" in done.stdout
    assert "-600 s off" in done.stdout or "-599 s off" in done.stdout


@pytest.mark.long
def test_each_fault_is_named_with_its_remedy(make_stack) -> None:
    stack = make_stack(routes={"demo": {}})
    sqs = stack.client("sqs")
    sqs.set_queue_attributes(
        QueueUrl=stack.queue_url(), Attributes={"VisibilityTimeout": "3600", "RedrivePolicy": ""}
    )
    sqs.delete_queue(QueueUrl=stack.queue_url(dead=True))
    table = f"sealwax-{stack.environment_name}-secrets"
    dynamodb = stack.client("dynamodb")
    for item in stack.items("secrets"):
        if item["name"]["S"] == "app/webhooks/demo":
            dynamodb.delete_item(
                TableName=table, Key={"name": item["name"], "version": item["version"]}
            )
    done = stack.cli("check", "--json", check=False)
    assert done.returncode == 1
    wrong = {
        (line["kind"], line["name"]): line
        for line in map(json.loads, done.stdout.splitlines())
        if not line["ok"]
    }
    assert all(line["remedy"] for line in wrong.values())
    queue = f"sealwax-{stack.environment_name}_default"
    assert ("dead-letter queue", f"{queue}-dlq") in wrong
    assert "VisibilityTimeout" in str(wrong["queue", queue])
    assert ("secret", "app/webhooks/demo") in wrong
    text = stack.cli("check", check=False)
    assert text.returncode == 1
    assert text.stdout.count("remedy:") == len(wrong)
