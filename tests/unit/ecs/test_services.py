"""Tasks and services: hardened, ordered to stop without loss, reaching no more than they must."""

from __future__ import annotations

import os
import re
from typing import Any

import click
import pytest
from support.templates import NAMES, Stack, load, text

from sealwax.cli import cli
from sealwax.settings import WebSettings, load_settings
from sealwax.web.serve import gunicorn_options

ANYWHERE = "0.0.0.0/0"


@pytest.fixture(params=["api", "worker", "steward"])
def stack(request: pytest.FixtureRequest) -> Stack:
    return Stack(request.param, {})


def container(stack: Stack) -> dict[str, Any]:
    (definition,) = stack.of_type("AWS::ECS::TaskDefinition").values()
    (only,) = definition["ContainerDefinitions"]
    return dict(only)


def service(stack: Stack) -> dict[str, Any]:
    (only,) = stack.of_type("AWS::ECS::Service").values()
    return dict(only)


def egress(stack: Stack, logical: str) -> dict[str, dict[str, Any]]:
    rules = stack.resources[logical]["Properties"]["SecurityGroupEgress"]
    return {rule["Description"]: rule for rule in rules}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described_and_every_output_exported(name):
    template = load(name)
    for parameter, spec in template["Parameters"].items():
        assert spec.get("Description"), parameter
    for output in template["Outputs"].values():
        assert output["Description"]
        assert output["Export"]["Name"]


@pytest.mark.parametrize("name", NAMES)
def test_a_template_fits_into_one_call(name):
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
    assert len(text(name).encode()) <= 51_200


@pytest.mark.parametrize("name", NAMES)
def test_no_template_holds_yaml_aliases(name):
    # CloudFormation refuses them.
    assert not re.search(r"^[^#]*(: |- )[&*][a-z]", text(name), re.MULTILINE)


def test_exports_of_all_layers_differ_and_every_import_is_exported():
    exports = [name for template in NAMES for name in Stack(template, {}).exports]
    assert len(exports) == len(set(exports))
    for template in ("api", "worker", "steward"):
        wanted = set(re.findall(r"ImportValue: !Sub (\S+)", text(template)))
        resolved = {
            name.replace("${Environment}", "prod").replace("${Lane}", "default") for name in wanted
        }
        assert resolved <= set(exports)
        # Export names take letters, digits, colons and dashes only.
        assert all(re.fullmatch(r"[A-Za-z0-9:-]+", name) for name in exports)


def test_containers_run_without_root_and_on_a_read_only_root(stack):
    made = container(stack)
    assert made["User"] == "10001:10001"
    assert made["ReadonlyRootFilesystem"] is True
    assert made["Privileged"] is False
    assert made["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert [point["ContainerPath"] for point in made["MountPoints"]] == ["/tmp"]


def test_secrets_come_from_credstash_alone(stack):
    made = container(stack)
    assert "Secrets" not in made
    assert "EnvironmentFiles" not in made
    names = {item["Name"] for item in made["Environment"]}
    assert names <= {
        "SEALWAX_ENVIRONMENT",
        "SEALWAX_BUCKET",
        "SEALWAX_LIVENESS_FILE",
        "AWS_REGION",
        "SEALWAX_WEB__CONNECTIONS_PER_ADDRESS",
    }


def test_lanes_and_a_configuration_file_can_be_given(stack):
    given = Stack(stack.name, {"Lanes": '{"default":{}}', "ConfigFile": "/app/sealwax.toml"})
    environment = {item["Name"]: item["Value"] for item in container(given)["Environment"]}
    assert environment["SEALWAX_LANES"] == '{"default":{}}'
    assert environment["SEALWAX_CONFIG"] == "/app/sealwax.toml"


def test_the_settings_take_the_environment_of_a_container(stack, monkeypatch):
    given = Stack(
        stack.name,
        {"Lanes": '{"default":{"concurrency":4}}'},
        {"sealwax-prod-payloads-bucket": "my-payloads"},
    )
    for name in [name for name in os.environ if name.startswith("SEALWAX_")]:
        monkeypatch.delenv(name)
    for item in container(given)["Environment"]:
        monkeypatch.setenv(item["Name"], item["Value"])
    settings = load_settings()
    assert settings.environment == "prod"
    assert settings.bucket_name == "my-payloads"
    assert settings.lanes["default"].concurrency == 4


def parses(command: list[Any]) -> bool:
    context = click.Context(cli)
    name, *arguments = map(str, command)
    known = cli.get_command(context, name)
    assert known is not None, name
    # Parses all of it, and fails on what it does not know.
    return known.make_context(name, arguments, parent=context).args == []


def test_commands_are_in_exec_form_and_known_to_the_command_line(stack):
    made = container(stack)
    assert made["EntryPoint"] == ["sealwax"]
    assert parses(made["Command"])


def test_the_health_checks_command_is_known_and_ends_in_time(stack):
    check = container(stack)["HealthCheck"]
    assert check["Command"][:2] == ["CMD", "sealwax"]
    assert parses(check["Command"][2:])
    assert check["Timeout"] < check["Interval"]


@pytest.mark.parametrize("name", ["worker", "steward"])
def test_the_health_check_reads_what_the_role_writes(name):
    made = container(Stack(name, {}))
    environment = {item["Name"]: item["Value"] for item in made["Environment"]}
    folder, _, _ = environment["SEALWAX_LIVENESS_FILE"].rpartition("/")
    assert folder in [point["ContainerPath"] for point in made["MountPoints"]]


def test_a_fifo_lanes_worker_serves_the_lane_by_its_name_in_the_settings():
    command = container(Stack("worker", {"Lane": "ordered", "Fifo": "true"}))["Command"]
    assert command[:3] == ["worker", "--lane", "ordered.fifo"]


def test_tasks_run_on_arm_in_private_subnets(stack):
    (definition,) = stack.of_type("AWS::ECS::TaskDefinition").values()
    assert definition["RuntimePlatform"]["CpuArchitecture"] == "ARM64"
    network = service(stack)["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"


def test_a_deployment_starts_before_it_stops_and_rolls_itself_back(stack):
    deployment = service(stack)["DeploymentConfiguration"]
    assert deployment["MinimumHealthyPercent"] == 100
    assert deployment["MaximumPercent"] == 200
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}


def graceful_timeout() -> int:
    return int(gunicorn_options(host="", port=0, workers=1, threads=1)["graceful_timeout"])


def test_the_api_stops_in_order():
    stack = Stack("api", {})
    (group,) = stack.of_type("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    attributes = {item["Key"]: item["Value"] for item in group["TargetGroupAttributes"]}
    delay = int(attributes["deregistration_delay.timeout_seconds"])
    stop = container(stack)["StopTimeout"]
    assert delay < graceful_timeout() < stop <= 120


@pytest.mark.parametrize(("cpu", "processes"), [("256", "1"), ("1024", "1"), ("4096", "4")])
def test_the_api_has_a_process_for_each_vcpu(cpu: str, processes: str):
    command = container(Stack("api", {"Cpu": cpu}))["Command"]
    assert str(command[command.index("--workers") + 1]) == processes
    command = container(Stack("api", {"Cpu": cpu, "Processes": 3}))["Command"]
    assert str(command[command.index("--workers") + 1]) == "3"


def test_the_load_balancer_is_the_first_to_close_an_idle_connection():
    (balancer,) = Stack("api", {}).of_type("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    attributes = {item["Key"]: item["Value"] for item in balancer["LoadBalancerAttributes"]}
    idle = float(attributes["idle_timeout.timeout_seconds"])
    assert idle < WebSettings.model_validate({}).keepalive_seconds


def test_a_worker_has_all_the_time_that_fargate_gives():
    assert container(Stack("worker", {}))["StopTimeout"] == 120


def test_the_load_balancer_takes_tls_only_and_asks_for_liveness():
    stack = Stack("api", {})
    (listener,) = stack.of_type("AWS::ElasticLoadBalancingV2::Listener").values()
    assert (listener["Protocol"], listener["Port"]) == ("HTTPS", 443)
    (group,) = stack.of_type("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    assert group["HealthCheckPath"] == "/healthz"
    health = WebSettings.model_validate({}).health_port
    assert group["HealthCheckPort"] == str(health)
    assert {"ContainerPort": health, "Protocol": "tcp"} in container(stack)["PortMappings"]
    (inward,) = stack.of_type("AWS::EC2::SecurityGroupIngress").values()
    assert inward["FromPort"] <= health <= inward["ToPort"]
    assert group["TargetType"] == "ip"


def test_only_the_load_balancer_connects_to_the_api_and_it_to_nothing_else():
    stack = Stack("api", {"CallersCidr": "10.1.0.0/16"})
    groups = stack.of_type("AWS::EC2::SecurityGroup")
    (inward,) = stack.of_type("AWS::EC2::SecurityGroupIngress").values()
    assert "SecurityGroupIngress" not in groups["TaskSecurityGroup"]
    assert inward["GroupId"] == "<TaskSecurityGroup.GroupId>"
    assert inward["SourceSecurityGroupId"] == "<LoadBalancerSecurityGroup.GroupId>"
    (outward,) = groups["LoadBalancerSecurityGroup"]["SecurityGroupEgress"]
    assert outward["DestinationSecurityGroupId"] == "<TaskSecurityGroup.GroupId>"
    (callers,) = groups["LoadBalancerSecurityGroup"]["SecurityGroupIngress"]
    assert (callers["CidrIp"], callers["FromPort"]) == ("10.1.0.0/16", 443)


@pytest.mark.parametrize("name", ["worker", "steward"])
def test_nothing_connects_to_it(name):
    stack = Stack(name, {})
    assert "LoadBalancers" not in service(stack)
    assert "PortMappings" not in container(stack)
    (group,) = stack.of_type("AWS::EC2::SecurityGroup").values()
    assert "SecurityGroupIngress" not in group


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"Egress": "none"}, {"S3", "DynamoDB", "Interface endpoints"}),
        (
            {"Egress": "nat", "EndpointSecurityGroupId": ""},
            {"S3", "DynamoDB", "NAT"},
        ),
        (
            {"Egress": "proxy", "ProxyCidr": "10.0.9.4/32"},
            {"S3", "DynamoDB", "Interface endpoints", "Proxy"},
        ),
        (
            {"Egress": "none", "InternalCidr": "10.0.7.0/24"},
            {"S3", "DynamoDB", "Interface endpoints", "Internal downstreams"},
        ),
    ],
)
def test_a_worker_reaches_what_its_egress_says(parameters, expected):
    rules = egress(Stack("worker", parameters), "SecurityGroup")
    assert set(rules) == expected
    open_to_all = {name for name, rule in rules.items() if rule.get("CidrIp") == ANYWHERE}
    assert open_to_all == ({"NAT"} if parameters["Egress"] == "nat" else set())


def test_stewards_behind_a_nat_gateway_need_no_endpoints():
    nat = {"Egress": "nat", "EndpointSecurityGroupId": ""}
    rules = egress(Stack("steward", nat), "SecurityGroup")
    assert set(rules) == {"S3", "DynamoDB", "NAT"}
    assert [name for name, rule in rules.items() if rule.get("CidrIp") == ANYWHERE] == ["NAT"]
    assert set(egress(Stack("steward", {"Egress": "nat"}), "SecurityGroup")) == {
        "S3",
        "DynamoDB",
        "Interface endpoints",
        "NAT",
    }


@pytest.mark.parametrize("name", ["api", "worker", "steward"])
def test_a_way_to_aws_is_asked_for_before_anything_is_made(name):
    nowhere = {"Egress": "none", "EndpointSecurityGroupId": ""}
    assert Stack(name, nowhere).broken_rules()
    assert not Stack(name, {**nowhere, "Egress": "nat"}).broken_rules()
    assert not Stack(name, {"Egress": "none"}).broken_rules()


def on_fargate(cpu: int, memory: int) -> bool:
    """Whether Fargate takes a size.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
    """
    least, most, step = {
        256: (512, 2_048, 1_024),
        512: (1_024, 4_096, 1_024),
        1_024: (2_048, 8_192, 1_024),
        2_048: (4_096, 16_384, 1_024),
        4_096: (8_192, 30_720, 1_024),
        8_192: (16_384, 61_440, 4_096),
        16_384: (32_768, 122_880, 8_192),
    }[cpu]
    return least <= memory <= most and (memory % step == 0 or memory == least)


def test_sizes_are_taken_as_fargate_takes_them(stack):
    parameters = load(stack.name)["Parameters"]
    for cpu in parameters["Cpu"]["AllowedValues"]:
        for memory in parameters["Memory"]["AllowedValues"]:
            broken = Stack(stack.name, {"Cpu": cpu, "Memory": memory}).broken_rules()
            assert (not broken) is on_fargate(int(cpu), int(memory)), (cpu, memory)


def test_idle_connections_are_kept_alive_below_what_nat_and_endpoints_forget(stack):
    """350 s: https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html"""
    kernel = {item["Namespace"]: int(item["Value"]) for item in container(stack)["SystemControls"]}
    idle, every, probes = (
        kernel[f"net.ipv4.tcp_keepalive_{name}"] for name in ("time", "intvl", "probes")
    )
    assert (idle, every, probes) == (60, 15, 4)
    assert idle + every * probes < 350
    # One container: in awsvpc mode the settings are the whole task's.
    assert service(stack)["PlatformVersion"] == "LATEST"
    assert container(stack)["LinuxParameters"]["InitProcessEnabled"] is True


def test_requests_go_where_fewest_wait():
    (group,) = Stack("api", {}).of_type("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    attributes = {item["Key"]: item["Value"] for item in group["TargetGroupAttributes"]}
    assert attributes["load_balancing.algorithm.type"] == "least_outstanding_requests"


def test_callers_may_agree_on_keys_in_a_post_quantum_way():
    (listener,) = Stack("api", {}).of_type("AWS::ElasticLoadBalancingV2::Listener").values()
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09"


def test_stewards_reach_endpoints_only_and_two_of_them_run():
    stack = Stack("steward", {})
    assert set(egress(stack, "SecurityGroup")) == {"S3", "DynamoDB", "Interface endpoints"}
    assert service(stack)["DesiredCount"] == 2
    # A turn lasts seconds; then the leases are given back.
    assert container(stack)["StopTimeout"] >= 30


def test_the_api_reaches_endpoints_only_unless_told_otherwise():
    assert set(egress(Stack("api", {}), "TaskSecurityGroup")) == {
        "S3",
        "DynamoDB",
        "Interface endpoints",
    }
    given = Stack("api", {"Egress": "nat", "InternalCidr": "10.0.7.0/24", "InternalPort": 8443})
    rules = egress(given, "TaskSecurityGroup")
    assert set(rules) == {"S3", "DynamoDB", "Interface endpoints", "Internal systems", "NAT"}
    assert rules["Internal systems"]["FromPort"] == 8443


def test_spot_stands_above_an_on_demand_base():
    stack = Stack("worker", {"Spot": "true", "OnDemandBase": 2})
    assert service(stack)["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Base": 2, "Weight": 0},
        {"CapacityProvider": "FARGATE_SPOT", "Weight": 1},
    ]
    assert service(Stack("worker", {}))["CapacityProviderStrategy"] == [
        {"CapacityProvider": "FARGATE", "Weight": 1}
    ]


@pytest.mark.parametrize("name", ["api", "worker"])
def test_scaling_and_a_fixed_count_exclude_each_other(name):
    stack = Stack(name, {})
    assert service(stack)["DesiredCount"] == 2
    assert not stack.of_type("AWS::ApplicationAutoScaling::ScalableTarget")
    scaled = Stack(stack.name, {"Autoscale": "true"})
    assert "DesiredCount" not in service(scaled)
    (target,) = scaled.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 10)


def test_logs_are_kept_as_long_as_said_and_outlive_the_stack():
    stack = Stack("cluster", {"RetentionInDays": 90})
    groups = stack.of_type("AWS::Logs::LogGroup")
    assert {group["LogGroupName"] for group in groups.values()} == {
        "/sealwax/prod/api",
        "/sealwax/prod/worker",
        "/sealwax/prod/steward",
    }
    assert {group["RetentionInDays"] for group in groups.values()} == {90}
