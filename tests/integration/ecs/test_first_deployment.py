"""A first deployment that fails, and a stack that takes over what an earlier one left.

On ministack, which rolls back as CloudFormation does: moto never fails a stack.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.aws import emulator_environment, settings_for
from support.templates import FOLDER, PARAMETERS, as_parameters, text
from support.waiting import wait_for

from sealwax.aws.clients import Aws
from sealwax.local.emulator import SERVICES, Emulator
from sealwax.settings import Settings

DOCUMENT = Path(__file__).parents[3] / "docs" / "deploy.md"


class Stacks:
    def __init__(self, settings: Settings, aws: Aws) -> None:
        self.environment = settings.environment
        self.client = aws.client("cloudformation", read_timeout=60)
        self.name = f"{settings.environment}-data"

    def parameters(self, **more: str) -> list[dict[str, str]]:
        given = {"Environment": self.environment, **PARAMETERS["data"], **more}
        return as_parameters(given)

    def create(self, body: str, **parameters: str) -> str:
        self.client.create_stack(
            StackName=self.name,
            TemplateBody=body,
            Parameters=self.parameters(**parameters),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        return self.ended()

    def status(self) -> str:
        try:
            return str(self.client.describe_stacks(StackName=self.name)["Stacks"][0]["StackStatus"])
        except self.client.exceptions.ClientError:
            return "GONE"

    def ended(self) -> str:
        wait_for(lambda: "IN_PROGRESS" not in self.status(), seconds=60, what="stack has ended")
        return self.status()

    def delete(self) -> None:
        self.client.delete_stack(StackName=self.name)
        assert self.ended() in ("GONE", "DELETE_COMPLETE")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An emulator of this file's own, with CloudFormation."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sealwax.local.emulator.SERVICES", f"{SERVICES},cloudformation,iam")
        log = tmp_path_factory.mktemp("ministack") / "ministack.log"
        with Emulator(environment=emulator_environment(), log=log) as emulator:
            yield emulator.url


@pytest.fixture
def stacks(cloud: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stacks:
    return Stacks(settings_for(monkeypatch, tmp_path, cloud), Aws())


def tables(stacks: Stacks) -> set[str]:
    prefix = f"sealwax-{stacks.environment}-"
    pages = Aws().client("dynamodb").get_paginator("list_tables").paginate()
    names = [name for page in pages for name in page["TableNames"]]
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}


#: What fails once everything else is made: nobody sends the signal.
FAILING = """
  Handle:
    Type: AWS::CloudFormation::WaitConditionHandle
  ZFails:
    Type: AWS::CloudFormation::WaitCondition
    DependsOn: [TokensTable, AuditTable, JobsTable, PayloadsBucketPolicy, WorkerKeyAlias]
    Properties:
      Handle: !Ref Handle
      Timeout: "1"

Outputs:
"""


def test_a_first_deployment_that_fails_leaves_the_names_free(stacks):
    """Retained, the names would be taken for every later one."""
    broken = text("data").replace("\nOutputs:\n", FAILING)
    assert stacks.create(broken, DeletionProtection="false") == "ROLLBACK_COMPLETE"
    assert tables(stacks) == set()
    stacks.delete()

    assert stacks.create(text("data"), DeletionProtection="false") == "CREATE_COMPLETE"
    made = tables(stacks)
    assert len(made) == 7
    stacks.delete()
    assert tables(stacks) == made


def for_import(environment: str) -> str:
    """Return the data layer as the page has it rewritten for an import."""
    (command,) = re.findall(r"^sed -e (.*?)> data-prod\.yaml$", DOCUMENT.read_text(), re.M | re.S)
    words = shlex.split(command.replace("\\\n", " "))
    rule = words[0].replace("sealwax-prod", f"sealwax-{environment}")
    return subprocess.run(
        ["/usr/bin/env", "sed", "-e", rule, FOLDER / "data.yaml"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_stack_takes_over_the_tables_that_an_earlier_one_left(stacks):
    assert stacks.create(text("data"), DeletionProtection="false") == "CREATE_COMPLETE"
    table = f"sealwax-{stacks.environment}-jobs"
    Aws().client("dynamodb").put_item(TableName=table, Item={"id": {"S": "kept"}})
    stacks.delete()

    stacks.client.create_change_set(
        StackName=stacks.name,
        ChangeSetName="take-over",
        ChangeSetType="CREATE",
        ImportExistingResources=True,
        TemplateBody=for_import(stacks.environment),
        Parameters=stacks.parameters(BucketName=f"other-{stacks.environment}"),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    place = {"StackName": stacks.name, "ChangeSetName": "take-over"}
    described = stacks.client.describe_change_set(**place)
    changes = [item["ResourceChange"] for item in described["Changes"]]
    imported = {each["LogicalResourceId"] for each in changes if each["Action"] == "Import"}
    assert {f"{name.capitalize()}Table" for name in tables(stacks)} <= imported
    stacks.client.execute_change_set(**place)
    assert stacks.ended() in ("CREATE_COMPLETE", "IMPORT_COMPLETE")
    found = Aws().client("dynamodb").get_item(TableName=table, Key={"id": {"S": "kept"}})
    assert "Item" in found
