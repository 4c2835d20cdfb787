"""The templates deployed by CloudFormation (moto); the result looked at as `sealwax check` does.

moto skips what it does not know and some properties of what it knows; `SKIPPED`
and the tests name them, so that a moto that learns more shows.
"""

from __future__ import annotations

import ast
import base64
import json
from typing import Any

import pytest
from support.templates import ACCOUNT, PARAMETERS, Request, Stack, allows, as_parameters, load, text

from sealwax.aws.clients import Aws
from sealwax.keys.keyring import Keyring
from sealwax.keys.lifecycle import init_keys
from sealwax.provision import audit, desired_state
from sealwax.secrets.factory import make_source
from sealwax.settings import Lane, Settings

#: Types that moto leaves out without failing the stack.
SKIPPED = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:Tried to parse .* not supported by moto's CloudFormation:UserWarning"
)

LANES = {"default": {}, "slow": {"lease": 60}, "ordered.fifo": {}}


@pytest.fixture
def settings(moto_env: Settings) -> Settings:
    return moto_env.model_copy(
        update={
            "lanes": {name: Lane.model_validate(lane) for name, lane in LANES.items()},
            "bucket": f"{moto_env.bucket_name}-{ACCOUNT}",
        }
    )


class Deployer:
    def __init__(self, settings: Settings, aws: Aws) -> None:
        self.environment = settings.environment
        self.aws = aws
        self.cloudformation = aws.client(
            "cloudformation", read_timeout=60, retries={"total_max_attempts": 1}
        )

    def deploy(self, template: str, suffix: str = "", **parameters: Any) -> dict[str, str]:
        """Create a stack and return its outputs."""
        name = f"{self.environment}-{template}{suffix}"
        values = {
            "Environment": self.environment,
            **PARAMETERS[template],
            **parameters,
        }
        self.cloudformation.create_stack(
            StackName=name,
            TemplateBody=text(template),
            Parameters=as_parameters(values),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        stack = self.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        return {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}

    def made(self, template: str, suffix: str = "") -> set[str]:
        answer = self.cloudformation.list_stack_resources(
            StackName=f"{self.environment}-{template}{suffix}"
        )
        made = {item["LogicalResourceId"] for item in answer["StackResourceSummaries"]}
        return made - {""}  # what moto skips has no name

    def data(self) -> dict[str, str]:
        """Deploy the data layer, and mend its keys for moto.

        moto keeps a key's policy from a template in a form that its
        DescribeKey does not read.
        """
        outputs = self.deploy("data")
        policies = Stack("data", {"Environment": self.environment}).of_type("AWS::KMS::Key")
        for logical, key in policies.items():
            self.aws.client("kms").put_key_policy(
                KeyId=outputs[f"{logical}Arn"],
                PolicyName="default",
                Policy=json.dumps(key["KeyPolicy"]),
            )
        return outputs

    def lanes(self, settings: Settings) -> list[str]:
        arns = []
        for lane, spec in settings.lanes.items():
            name, fifo, _ = lane.partition(".fifo")
            outputs = self.deploy(
                "queues",
                f"-{name}",
                Lane=name,
                Fifo="true" if fifo else "false",
                Lease=spec.lease,
            )
            arns.append(outputs["QueueArn"])
        return arns


@pytest.fixture
def deployer(settings: Settings, aws: Aws) -> Deployer:
    return Deployer(settings, aws)


@pytest.fixture
def network(aws: Aws) -> dict[str, Any]:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    zones = [item["ZoneName"] for item in ec2.describe_availability_zones()["AvailabilityZones"]]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{n}.0/24", AvailabilityZone=zones[n])[
            "Subnet"
        ]["SubnetId"]
        for n in range(2)
    ]
    group = ec2.create_security_group(GroupName="endpoints", Description="-", VpcId=vpc)
    certificate = aws.client("acm").request_certificate(DomainName="jobs.example.com")
    return {
        "vpc": vpc,
        "subnets": subnets,
        "endpoints": group["GroupId"],
        "certificate": certificate["CertificateArn"],
    }


def expected(template: str, *, without: set[str] = frozenset()) -> set[str]:  # type: ignore[assignment]
    return {
        logical
        for logical, resource in load(template)["Resources"].items()
        if resource["Type"] not in SKIPPED | without and "Condition" not in resource
    }


@pytest.mark.long
def test_the_audit_finds_what_the_templates_made_in_order(settings, deployer, aws):
    deployer.data()
    deployer.lanes(settings)

    found = {item.name: item.problem for item in audit(settings, aws) if item.problem}

    # moto's CloudFormation leaves time to live out; a unit test has it.
    lacking = {table.name for table in desired_state(settings).tables if table.ttl}
    assert set(found) == lacking
    for table in lacking:
        assert "time to live" in str(found[table])
        aws.client("dynamodb").update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
        )
    assert all(item.ok for item in audit(settings, aws))


def test_nothing_is_left_out_of_the_data_layer_but_what_is_named(settings, deployer):
    deployer.data()
    deployer.lanes(settings)
    assert deployer.made("data") == expected("data")
    # moto lists no alarm among a stack's resources.
    alarms = {"AWS::CloudWatch::Alarm"}
    assert deployer.made("queues", "-default") == expected("queues", without=alarms)


def test_keys_can_be_made_and_read_with_what_the_data_layer_made(settings, deployer, aws):
    deployer.data()
    source = make_source(settings, aws)

    assert init_keys(settings, source).created

    for role in ("api", "worker"):
        keyring = Keyring.read(role, source.get)
        assert keyring.signer.id


def test_each_secret_is_under_its_roles_own_key(settings, deployer, aws):
    outputs = deployer.data()
    init_keys(settings, make_source(settings, aws))
    kms = aws.client("kms")
    rows = aws.client("dynamodb").scan(TableName=settings.table_name("secrets"))["Items"]
    assert {row["name"]["S"] for row in rows} == {
        "api/keys",
        "api/token-key",
        "shared/hmac",
        "shared/keyring",
        *(f"worker/{lane}/keys" for lane in settings.lanes),
    }
    for row in rows:
        name = row["name"]["S"]
        answer = kms.decrypt(
            CiphertextBlob=base64.b64decode(row["key"]["S"]),
            EncryptionContext={"name": name, "environment": settings.environment},
        )
        assert answer["KeyId"] == outputs[f"{name.split('/')[0].capitalize()}KeyArn"]


def test_the_services_stand_on_the_other_layers(settings, deployer, aws, network):
    deployer.data()
    arns = deployer.lanes(settings)
    cluster = deployer.deploy("cluster")
    place = {"VpcId": network["vpc"], "EndpointSecurityGroupId": network["endpoints"]}
    deployer.deploy(
        "api",
        LaneQueueArns=arns,
        LoadBalancerSubnetIds=network["subnets"],
        TaskSubnetIds=network["subnets"],
        CertificateArn=network["certificate"],
        **place,
    )
    deployer.deploy("worker", "-default", SubnetIds=network["subnets"], **place)
    deployer.deploy(
        "worker",
        "-ordered",
        Lane="ordered",
        Fifo="true",
        SubnetIds=network["subnets"],
        Spot="true",
        **place,
    )

    assert deployer.made("api") == expected("api")
    assert deployer.made("worker", "-default") == expected("worker")
    prefix = settings.name_prefix
    ecs = aws.client("ecs")
    services = ecs.describe_services(
        cluster=cluster["ClusterName"],
        services=[f"{prefix}-api", f"{prefix}-worker_default", f"{prefix}-worker_ordered"],
    )
    assert [item["status"] for item in services["services"]] == ["ACTIVE"] * 3
    assert services["failures"] == []
    definition = ecs.describe_task_definition(taskDefinition=f"{prefix}-worker_ordered")
    (container,) = definition["taskDefinition"]["containerDefinitions"]
    assert "ordered.fifo" in container["command"]
    # moto leaves a hole where a list's item is AWS::NoValue.
    environment = {item["name"]: item["value"] for item in container["environment"] if item}
    assert environment["SEALWAX_BUCKET"] == settings.bucket_name
    for lane in ("default", "ordered"):
        document = aws.client("iam").get_role_policy(
            RoleName=f"{prefix}-worker_{lane}", PolicyName="worker"
        )["PolicyDocument"]
        # moto gives a policy from a template as Python text, with the same holes.
        policy = [item for item in ast.literal_eval(str(document))["Statement"] if item]
        # Imported from the lane's own stack.
        consumable = [arn for arn in arns if allows(policy, Request("sqs:ReceiveMessage", arn))]
        assert [arn.rpartition(":")[2].removeprefix(f"{prefix}_") for arn in consumable] == [
            "default" if lane == "default" else "ordered.fifo"
        ]
