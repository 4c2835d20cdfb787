"""One AWS account with environments of Sealwax in it: who may do what, by all policies together.

A call passes where the caller's own policy allows it, nothing denies it and, for a
key, the key's policy allows it too: a key's statements trust the account's policies
and narrow them. Policies of buckets and queues only deny. The same rules hold for
every principal, a role of ECS or a person's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from support.templates import ACCOUNT, Request, Stack, statement_applies

__all__ = ["Account", "Policy", "Principal"]

#: Those whom OperatorArns names: one has the operators' policy, one the erasers' alone.
OPERATOR, ERASER = "role/operator", "role/eraser"


@dataclass
class Policy:
    """The statements of one policy, and where its template has them."""

    template: str
    logical: str
    statements: list[dict[str, Any]]


@dataclass(frozen=True)
class Principal:
    """Somebody who calls AWS: an ARN, and the policies attached to it."""

    name: str
    arn: str
    policies: tuple[Policy, ...]


class Account:
    """Environments by name, each with its lanes; the first lane is the workers' own.

    Parameters
    ----------
    environments
        Lanes by environment, as the settings name them.
    parameters
        By template: what differs from the first deployment's parameters.
    """

    def __init__(
        self,
        environments: Mapping[str, Sequence[str]],
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.lanes = dict(environments)
        self.principals: dict[str, dict[str, Principal]] = {}
        self.stacks: dict[str, dict[str, Stack]] = {}
        self._attached: dict[str, Policy] = {}
        for environment in environments:
            self._deploy(environment, parameters or {})

    # -- what is there --------------------------------------------------------------

    def _deploy(self, environment: str, parameters: Mapping[str, Mapping[str, Any]]) -> None:
        common = {"Environment": environment}
        arns = [f"arn:aws:iam::{ACCOUNT}:{who}-{environment}" for who in (OPERATOR, ERASER)]
        data = Stack("data", {**common, "OperatorArns": arns, **parameters.get("data", {})})
        imports, stacks = dict(data.exports), {"data": data}
        for lane in self.lanes[environment]:
            queues = Stack("queues", {**common, **_lane(lane), **parameters.get("queues", {})})
            assert not set(queues.exports) & set(imports), "two stacks export one name"
            imports |= queues.exports
            stacks[f"queues {lane}"] = queues
        cluster = stacks["cluster"] = Stack("cluster", common)
        imports |= cluster.exports
        live = [stacks[f"queues {lane}"].output("QueueArn") for lane in self.lanes[environment]]
        dead = [
            stacks[f"queues {lane}"].output("DeadLetterQueueArn")
            for lane in self.lanes[environment]
        ]
        every = {**common, "LaneQueueArns": live}
        stacks["api"] = Stack("api", {**every, **parameters.get("api", {})}, imports)
        stacks["steward"] = Stack(
            "steward",
            {**every, "DeadLetterQueueArns": dead, **parameters.get("steward", {})},
            imports,
        )
        for number, lane in enumerate(self.lanes[environment]):
            others = [arn for arn in live if arn != live[number]]
            given = {**common, **_lane(lane), "FollowUpQueueArns": others or ""}
            stacks[f"worker {lane}"] = Stack(
                "worker", {**given, **parameters.get("worker", {})}, imports
            )
        self.stacks[environment] = stacks
        self._attach(stacks)
        self.principals[environment] = self._people(environment, stacks)

    def _attach(self, stacks: Mapping[str, Stack]) -> None:
        for stack in stacks.values():
            for logical, key in stack.of_type("AWS::KMS::Key").items():
                arn = stack.attribute(logical, "Arn")
                self._attached[arn] = Policy(stack.name, logical, key["KeyPolicy"]["Statement"])
            for kind, of in (("AWS::SQS::QueuePolicy", "Queues"), ("AWS::S3::BucketPolicy", None)):
                for logical, item in stack.of_type(kind).items():
                    policy = Policy(stack.name, logical, item["PolicyDocument"]["Statement"])
                    owner = "Queue" if logical == "QueuePolicy" else "DeadLetterQueue"
                    arn = stack.attribute(owner if of else "PayloadsBucket", "Arn")
                    self._attached[arn] = policy

    def _people(self, environment: str, stacks: Mapping[str, Stack]) -> dict[str, Principal]:
        found: dict[str, Principal] = {}
        roles = {"api": ("api", "TaskRole"), "steward": ("steward", "TaskRole")}
        roles |= {"execution": ("cluster", "ExecutionRole")}
        for number, lane in enumerate(self.lanes[environment]):
            roles["worker" if number == 0 else f"worker {lane}"] = (f"worker {lane}", "TaskRole")
        for name, (stack, logical) in roles.items():
            role = stacks[stack].resources[logical]["Properties"]
            policies = tuple(
                Policy(stacks[stack].name, logical, item["PolicyDocument"]["Statement"])
                for item in role["Policies"]
            )
            found[name] = Principal(
                name, f"arn:aws:iam::{ACCOUNT}:role/{role['RoleName']}", policies
            )
        for name, arn in (("operator", OPERATOR), ("eraser", ERASER)):
            logical = f"{name.capitalize()}Policy"
            item = stacks["data"].resources[logical]["Properties"]["PolicyDocument"]
            policy = Policy("data", logical, item["Statement"])
            found[name] = Principal(name, f"arn:aws:iam::{ACCOUNT}:{arn}-{environment}", (policy,))
        return found

    @property
    def policies(self) -> list[Policy]:
        """Every policy of every environment."""
        people = [person for each in self.principals.values() for person in each.values()]
        return [*(policy for who in people for policy in who.policies), *self._attached.values()]

    # -- what is allowed ------------------------------------------------------------

    def allows(self, who: Principal, request: Request) -> bool:
        """Whether AWS lets somebody make a call."""
        own, others = self.judged(who, request)
        if "Deny" in own | others:
            return False
        if request.action.startswith("kms:"):
            return "Allow" in own and "Allow" in others
        return "Allow" in own

    def judged(self, who: Principal, request: Request) -> tuple[set[str], set[str]]:
        """Return what somebody's own policies say of a call, and what its target's policy says."""
        context = {"aws:PrincipalArn": who.arn, "aws:SecureTransport": "true", **request.context}
        asked = Request(request.action, request.resource, context)
        attached = self._attached.get(_owner(request.resource))
        return (
            _effects((item for policy in who.policies for item in policy.statements), asked),
            _effects(attached.statements if attached else (), asked),
        )

    def behind(self, environment: str, request: Request) -> list[Request]:
        """Return what AWS asks of the caller besides: S3 uses the bucket's key in its name."""
        wanted = _OF_THE_BUCKETS_KEY.get(request.action)
        if wanted is None:
            return []
        stack = self.stacks[environment]["data"]
        via = f"s3.{stack.resolve({'Ref': 'AWS::Region'})}.amazonaws.com"
        return [Request(wanted, stack.attribute("PayloadsKey", "Arn"), {"kms:ViaService": via})]


#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
_OF_THE_BUCKETS_KEY = {"s3:PutObject": "kms:GenerateDataKey", "s3:GetObject": "kms:Decrypt"}


def _lane(lane: str) -> dict[str, str]:
    name, fifo, _ = lane.partition(".fifo")
    return {"Lane": name, "Fifo": "true" if fifo else "false"}


def _owner(resource: str) -> str:
    """Return the ARN of what has the policy: an object's bucket, else the resource itself."""
    return resource.partition("/")[0] if resource.startswith("arn:aws:s3:::") else resource


def _effects(statements: Any, request: Request) -> set[str]:
    found = set()
    for statement in statements:
        if statement_applies(statement, request):
            found.add(str(statement["Effect"]))
    return found
