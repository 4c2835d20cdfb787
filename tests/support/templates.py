"""The CloudFormation templates of `ecs/`, read and evaluated without AWS."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent.parent.parent / "ecs"
NAMES = ("data", "queues", "cluster", "api", "worker", "steward")

ACCOUNT, REGION = "123456789012", "eu-central-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}
PREFIX_LISTS = {"S3PrefixListId": "pl-6ea54007", "DynamoDbPrefixListId": "pl-66a5400f"}

#: What a template needs besides Environment, where it has no default.
PARAMETERS: dict[str, dict[str, Any]] = {
    "data": {"OperatorArns": [f"arn:aws:iam::{ACCOUNT}:role/operator"]},
    "queues": {},
    "cluster": {},
    "api": {
        "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sealwax@sha256:0",
        "LaneQueueArns": [f"arn:aws:sqs:{REGION}:{ACCOUNT}:sealwax-prod_default"],
        "VpcId": "vpc-1",
        "LoadBalancerSubnetIds": ["subnet-1", "subnet-2"],
        "TaskSubnetIds": ["subnet-3", "subnet-4"],
        "CertificateArn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/1",
        "EndpointSecurityGroupId": "sg-1",
        **PREFIX_LISTS,
    },
    "worker": {
        "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sealwax@sha256:0",
        "VpcId": "vpc-1",
        "SubnetIds": ["subnet-3", "subnet-4"],
        "EndpointSecurityGroupId": "sg-1",
        **PREFIX_LISTS,
    },
    "steward": {
        "Image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/sealwax@sha256:0",
        "LaneQueueArns": [f"arn:aws:sqs:{REGION}:{ACCOUNT}:sealwax-prod_default"],
        "DeadLetterQueueArns": [f"arn:aws:sqs:{REGION}:{ACCOUNT}:sealwax-prod_default-dlq"],
        "VpcId": "vpc-1",
        "SubnetIds": ["subnet-3", "subnet-4"],
        "EndpointSecurityGroupId": "sg-1",
        **PREFIX_LISTS,
    },
}

NOTHING = object()


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def text(name: str) -> str:
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(text(name), _Loader)  # a SafeLoader
    return loaded


@dataclass
class Stack:
    """A template with its parameters: resources and outputs as CloudFormation would make them.

    An attribute or reference of a resource stands as `<logical.Attribute>`,
    ARNs of named resources as real ones.
    """

    name: str
    parameters: dict[str, Any]
    imports: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.template = load(self.name)
        given = {"Environment": "prod", **PARAMETERS[self.name], **self.parameters}
        self.values: dict[str, Any] = {}
        for name, spec in self.template["Parameters"].items():
            value = given.pop(name) if name in given else spec["Default"]
            if spec["Type"] == "CommaDelimitedList" and isinstance(value, str):
                value = value.split(",")
            self.values[name] = value
        assert not given, f"{self.name}.yaml has no parameter {sorted(given)}"
        self.resources = {
            logical: self.resolve(resource)
            for logical, resource in self.template["Resources"].items()
            if "Condition" not in resource or self._condition(resource["Condition"])
        }
        self.exports = {
            self.resolve(item["Export"]["Name"]): self.resolve(item["Value"])
            for item in self.template["Outputs"].values()
        }

    def output(self, logical: str) -> Any:
        """Return the value of an output."""
        return self.resolve(self.template["Outputs"][logical]["Value"])

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        return {
            logical: resource["Properties"]
            for logical, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def broken_rules(self) -> list[str]:
        """Return what CloudFormation would say before it makes anything."""
        return [
            assertion["AssertDescription"]
            for rule in self.template.get("Rules", {}).values()
            if self.resolve(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.resolve(assertion["Assert"])
        ]

    def _condition(self, name: str) -> bool:
        return bool(self.resolve(self.template["Conditions"][name]))

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NOTHING}

    def _call(self, function: str, argument: Any) -> Any:
        if function == "Ref":
            return self._ref(argument)
        if function == "GetAtt":
            return self.attribute(*argument)
        if function == "Sub":
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._named(found[1])), argument)
        if function == "If":
            return self.resolve(argument[1] if self._condition(argument[0]) else argument[2])
        resolved = self.resolve(argument)
        if function == "Equals":
            return resolved[0] == resolved[1]
        if function == "Not":
            return not resolved[0]
        if function == "And":
            return all(resolved)
        if function == "Contains":
            return resolved[1] in resolved[0]
        if function == "FindInMap":
            name, first, second = resolved
            return self.template["Mappings"][name][first][second]
        if function == "Join":
            return resolved[0].join(map(str, resolved[1]))
        if function == "ImportValue":
            return self.imports.get(resolved, f"<import {resolved}>")
        raise NotImplementedError(function)

    def _named(self, name: str) -> Any:
        return self.attribute(*name.split(".", 1)) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.values:
            return self.values[name]
        return self.attribute(name, "Ref")

    def attribute(self, logical: str, attribute: str) -> Any:
        """Return what `Fn::GetAtt` or, for `Ref`, a reference gives of a resource."""
        resource = self.template["Resources"][logical]
        properties = resource["Properties"]
        own = {
            ("AWS::SQS::Queue", "QueueName"): ("QueueName", "{}"),
            ("AWS::SQS::Queue", "Arn"): ("QueueName", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{{}}"),
            ("AWS::DynamoDB::Table", "Arn"): (
                "TableName",
                f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{{}}",
            ),
            ("AWS::S3::Bucket", "Ref"): ("BucketName", "{}"),
            ("AWS::S3::Bucket", "Arn"): ("BucketName", "arn:aws:s3:::{}"),
            ("AWS::Logs::LogGroup", "Arn"): (
                "LogGroupName",
                f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{}}:*",
            ),
            ("AWS::IAM::Role", "Arn"): ("RoleName", f"arn:aws:iam::{ACCOUNT}:role/{{}}"),
        }.get((resource["Type"], attribute))
        if resource["Type"] == "AWS::KMS::Key" and attribute == "Arn":
            return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{self.values['Environment']}/{logical}"
        if own is None:
            return f"<{logical}.{attribute}>"
        return own[1].format(self.resolve(properties[own[0]]))


def statements(document: dict[str, Any]) -> list[dict[str, Any]]:
    return list(document["Statement"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@dataclass
class Request:
    """One call to AWS, as a policy sees it."""

    action: str
    resource: str
    context: dict[str, Any] = field(default_factory=dict)


def _matches(pattern: str, value: str) -> bool:
    # Policies know `*` and `?` only.
    return fnmatchcase(value, pattern.replace("[", "[[]"))


def _condition_holds(operator: str, key: str, wanted: Any, context: dict[str, Any]) -> bool:
    values = [str(item) for item in listed(wanted)]
    found = context.get(key)
    if operator == "Null":
        return (found is None) == (values[0] == "true")
    if operator.startswith("ForAllValues:"):
        plain = operator.removeprefix("ForAllValues:")
        return all(_single(plain, values, str(item)) for item in listed(found or []))
    if operator.startswith("ForAnyValue:"):
        plain = operator.removeprefix("ForAnyValue:")
        return any(_single(plain, values, str(item)) for item in listed(found or []))
    return found is not None and _single(operator, values, str(found))


def _single(operator: str, values: list[str], found: str) -> bool:
    if operator in ("StringEquals", "Bool"):
        return found in values
    if operator in ("StringLike", "ArnLike"):
        return any(_matches(value, found) for value in values)
    raise NotImplementedError(operator)


def statement_applies(statement: dict[str, Any], request: Request) -> bool:
    return (
        any(_matches(pattern, request.action) for pattern in listed(statement["Action"]))
        and any(_matches(pattern, request.resource) for pattern in listed(statement["Resource"]))
        and all(
            _condition_holds(operator, key, wanted, request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def allows(policy: list[dict[str, Any]], request: Request) -> bool:
    """Whether IAM would allow it: something allows it and nothing denies it."""
    applying = [item["Effect"] for item in policy if statement_applies(item, request)]
    return "Allow" in applying and "Deny" not in applying


def as_parameters(values: dict[str, Any]) -> list[dict[str, str]]:
    """Return parameters in the form that CloudFormation's API takes."""
    return [
        {
            "ParameterKey": name,
            "ParameterValue": ",".join(value) if isinstance(value, list) else str(value),
        }
        for name, value in values.items()
    ]


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
