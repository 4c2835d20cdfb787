"""The list of tasks."""

from __future__ import annotations


def test_tasks_are_listed_with_their_schemas(client, auth) -> None:
    tasks = client.get("/v1/tasks", headers=auth).get_json()["tasks"]
    relay = next(task for task in tasks if task["name"] == "webhooks.relay")
    assert relay["schema"]["properties"]["event"]["type"] == "string"
    assert relay["description"]
