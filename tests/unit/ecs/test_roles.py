"""What each role may do, evaluated from the templates' policies: all it needs and no more.

Emulators look at actions only, so resources and conditions are evaluated here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.templates import ACCOUNT, NAMES, REGION, Request, Stack, allows, listed

from sealwax.keys.public import private_name
from sealwax.settings import Settings

SETTINGS = Settings(environment="prod", bucket=f"sealwax-prod-payloads-{ACCOUNT}")
SQS = f"arn:aws:sqs:{REGION}:{ACCOUNT}:"
DEFAULT = SQS + SETTINGS.queue_name("default")
DEAD = SQS + SETTINGS.dead_letter_queue_name("default")
OTHER = SQS + "sealwax-prod_slow"
TABLES = {
    name: f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{SETTINGS.table_name(name)}"
    for name in ("jobs", "tokens", "secrets", "outbox", "letters", "audit", "control")
}
BUCKET = f"arn:aws:s3:::{SETTINGS.bucket_name}"
ROLES = {"api": "sealwax-prod-api", "worker": "sealwax-prod-worker_default"}

#: Actions that AWS lets nobody scope.
UNSCOPED = {"ecr:GetAuthorizationToken"}


@pytest.fixture(scope="module")
def data() -> Stack:
    return Stack("data", {})


@pytest.fixture(scope="module")
def stacks(data: Stack) -> dict[str, Stack]:
    queues = Stack("queues", {})
    cluster = Stack("cluster", {})
    imports = {**data.exports, **queues.exports, **cluster.exports}
    return {
        "data": data,
        "queues": queues,
        "cluster": cluster,
        "api": Stack("api", {"LaneQueueArns": [DEFAULT, OTHER]}, imports),
        "worker": Stack("worker", {}, imports),
        "steward": Stack(
            "steward", {"LaneQueueArns": [DEFAULT], "DeadLetterQueueArns": [DEAD]}, imports
        ),
    }


def policies(stack: Stack) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for logical, role in stack.of_type("AWS::IAM::Role").items():
        for policy in role["Policies"]:
            yield logical, policy["PolicyDocument"]["Statement"]
    for logical, policy in stack.of_type("AWS::IAM::ManagedPolicy").items():
        yield logical, policy["PolicyDocument"]["Statement"]


@pytest.fixture(params=["api", "worker"])
def role(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def own(stacks: dict[str, Stack], role: str) -> list[dict[str, Any]]:
    return next(statements for name, statements in policies(stacks[role]) if name == "TaskRole")


def may(stacks: dict[str, Stack], role: str, action: str, resource: str, **context: Any) -> bool:
    return allows(
        own(stacks, role),
        Request(action, resource, {k.replace("__", ":"): v for k, v in context.items()}),
    )


def may_use_key(
    stacks: dict[str, Stack],
    role: str,
    action: str,
    key: str,
    secret: str,
    environment: str = "prod",
) -> bool:
    """Both must agree: the role's policy, and the key's, which trusts the account's policies."""
    logical = f"{key.capitalize()}Key"
    arn = stacks["data"].exports[f"sealwax-prod-{key}-key-arn"]
    name = f"sealwax-prod-{role}" if role == "steward" else ROLES.get(role, role)
    request = Request(
        action,
        arn,
        {
            "aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/{name}",
            "kms:EncryptionContext:environment": environment,
            "kms:EncryptionContext:name": secret,
        },
    )
    key_policy = stacks["data"].resources[logical]["Properties"]["KeyPolicy"]["Statement"]
    identity = own(stacks, role) if role in stacks else next(iter(policies(stacks["data"])))[1]
    return allows(identity, request) and allows(key_policy, request)


@pytest.mark.parametrize("template", NAMES)
def test_no_policy_allows_a_wildcard_of_actions(stacks, template):
    for _, statements in policies(stacks[template]):
        for statement in statements:
            assert not [item for item in listed(statement["Action"]) if "*" in item]
            assert "NotAction" not in statement
    for key in stacks[template].of_type("AWS::KMS::Key").values():
        for statement in key["KeyPolicy"]["Statement"]:
            assert not [item for item in listed(statement["Action"]) if "*" in item]


@pytest.mark.parametrize("role", ["api", "worker"])
def test_what_cannot_be_sent_now_may_be_written_to_the_outbox_and_no_more(stacks, role):
    assert may(stacks, role, "dynamodb:PutItem", TABLES["outbox"])
    for action in ("GetItem", "Scan", "Query", "DeleteItem", "UpdateItem"):
        assert not may(stacks, role, f"dynamodb:{action}", TABLES["outbox"])


@pytest.mark.parametrize("template", NAMES)
def test_every_statement_names_its_resources(stacks, template):
    for _, statements in policies(stacks[template]):
        for statement in statements:
            assert "NotResource" not in statement
            for resource in listed(statement["Resource"]):
                if set(listed(statement["Action"])) <= UNSCOPED:
                    continue
                assert resource.startswith("arn:aws:"), statement
                assert "sealwax" in resource or ":key/" in resource, statement


@pytest.mark.parametrize("template", ["api", "worker", "cluster", "steward"])
def test_only_tasks_of_this_account_take_on_the_roles(stacks, template):
    for role in stacks[template].of_type("AWS::IAM::Role").values():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


# -- the steward ---------------------------------------------------------------------


def test_a_steward_empties_dead_letter_queues_and_sends_to_lanes(stacks):
    for action in ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"):
        assert may(stacks, "steward", f"sqs:{action}", DEAD)
        assert not may(stacks, "steward", f"sqs:{action}", DEFAULT)
    assert may(stacks, "steward", "sqs:SendMessage", DEFAULT)
    assert not may(stacks, "steward", "sqs:SendMessage", DEAD)


def test_a_steward_sends_what_the_outbox_holds_and_leads_its_duties(stacks):
    for action in ("BatchGetItem", "BatchWriteItem", "DeleteItem", "UpdateItem"):
        assert may(stacks, "steward", f"dynamodb:{action}", TABLES["outbox"])
    assert may(stacks, "steward", "dynamodb:Query", f"{TABLES['outbox']}/index/by-due")
    assert control(stacks, "steward", "UpdateItem", "leader")
    for kind in ("worker", "pause", "drain", "reveal", "session"):
        assert not control(stacks, "steward", "UpdateItem", kind)
    assert may(stacks, "steward", "dynamodb:Query", f"{TABLES['jobs']}/index/by-watch")
    for action in ("Scan", "DeleteItem", "BatchWriteItem"):
        assert not may(stacks, "steward", f"dynamodb:{action}", TABLES["jobs"])


def test_a_steward_opens_no_payload(stacks):
    for name in (
        "api/keys",
        "worker/keys",
        "worker/default/keys",
        "app/webhooks/signing",
        "api/token-key",
    ):
        keys = {"dynamodb__LeadingKeys": [name]}
        assert not may(stacks, "steward", "dynamodb:GetItem", TABLES["secrets"], **keys)
        arn = stacks["data"].exports[f"sealwax-prod-{key_of(name)}-key-arn"]
        assert not may(stacks, "steward", "kms:Decrypt", arn)
    hmac = {"dynamodb__LeadingKeys": ["shared/hmac"]}
    assert may(stacks, "steward", "dynamodb:GetItem", TABLES["secrets"], **hmac)
    assert may(stacks, "steward", "s3:PutObject", f"{BUCKET}/letters/1/2")


def test_a_steward_verifies_whose_a_message_is_with_public_keys(stacks):
    public = {"dynamodb__LeadingKeys": ["shared/keyring"]}
    assert may(stacks, "steward", "dynamodb:GetItem", TABLES["secrets"], **public)
    for place in ("live/1/2", "dead/1/2"):
        assert may(stacks, "steward", "s3:GetObject", f"{BUCKET}/{place}")
        assert not may(stacks, "steward", "s3:PutObject", f"{BUCKET}/{place}")


def managed(stacks: dict[str, Stack], logical: str) -> list[dict[str, Any]]:
    return next(statements for name, statements in policies(stacks["data"]) if name == logical)


def test_operators_verify_jobs_and_change_none(stacks):
    operator = managed(stacks, "OperatorPolicy")
    for resource in (f"{TABLES['jobs']}/index/by-watch", f"{TABLES['outbox']}/index/by-due"):
        assert allows(operator, Request("dynamodb:Query", resource))
    assert not allows(operator, Request("dynamodb:UpdateItem", TABLES["jobs"]))
    # Sealed, and judged by its signature: whether it is the job's own.
    assert allows(operator, Request("dynamodb:GetItem", TABLES["outbox"]))
    for action in ("PutItem", "DeleteItem", "UpdateItem", "BatchWriteItem", "Scan"):
        assert not allows(operator, Request(f"dynamodb:{action}", TABLES["outbox"]))


def test_who_erases_deletes_what_is_kept_and_reads_no_payload_nor_audit_log(stacks):
    eraser = managed(stacks, "EraserPolicy")
    for action, resource in (
        ("dynamodb:Query", f"{TABLES['jobs']}/index/by-tenant"),
        ("dynamodb:UpdateItem", TABLES["jobs"]),
        ("dynamodb:BatchWriteItem", TABLES["outbox"]),
        ("dynamodb:DeleteItem", TABLES["letters"]),
        ("s3:DeleteObject", f"{BUCKET}/dead/1/2"),
    ):
        assert allows(eraser, Request(action, resource)), action
    for action, resource in (
        ("dynamodb:DeleteItem", TABLES["jobs"]),
        ("dynamodb:DeleteItem", TABLES["audit"]),
        ("dynamodb:Query", TABLES["audit"]),
        ("s3:GetObject", f"{BUCKET}/dead/1/2"),
    ):
        assert not allows(eraser, Request(action, resource)), action


# -- what each needs -----------------------------------------------------------------


def test_the_api_sends_to_lanes_and_receives_nothing(stacks):
    for queue in (DEFAULT, OTHER):
        assert may(stacks, "api", "sqs:SendMessage", queue)
        assert may(stacks, "api", "sqs:GetQueueUrl", queue)
        assert not may(stacks, "api", "sqs:ReceiveMessage", queue)
        assert not may(stacks, "api", "sqs:DeleteMessage", queue)
    assert not may(stacks, "api", "sqs:SendMessage", DEAD)


@pytest.mark.parametrize(
    "action",
    [
        "ReceiveMessage",
        "DeleteMessage",
        "ChangeMessageVisibility",
        "GetQueueAttributes",
        "GetQueueUrl",
        "SendMessage",
    ],
)
def test_a_worker_consumes_its_own_lane_alone(stacks, action):
    assert may(stacks, "worker", f"sqs:{action}", DEFAULT)
    assert not may(stacks, "worker", f"sqs:{action}", OTHER)


def test_a_worker_writes_dead_letters_and_takes_none_away(stacks):
    for action in ("SendMessage", "GetQueueUrl"):
        assert may(stacks, "worker", f"sqs:{action}", DEAD)
    for action in ("ReceiveMessage", "DeleteMessage", "PurgeQueue"):
        assert not may(stacks, "worker", f"sqs:{action}", DEAD)


def test_follow_ups_go_to_named_lanes_only(stacks):
    stack = Stack("worker", {"FollowUpQueueArns": [OTHER]}, stacks["worker"].imports)
    statements = next(iter(policies(stack)))[1]
    assert allows(statements, Request("sqs:SendMessage", OTHER))
    assert not allows(statements, Request("sqs:ReceiveMessage", OTHER))


def test_both_keep_the_ledger_and_delete_nothing(stacks, role):
    for action in ("GetItem", "PutItem", "UpdateItem"):
        assert may(stacks, role, f"dynamodb:{action}", TABLES["jobs"])
    for action in ("DeleteItem", "Scan", "BatchWriteItem", "DeleteTable"):
        assert not may(stacks, role, f"dynamodb:{action}", TABLES["jobs"])


def test_the_api_lists_jobs_and_workers_do_not(stacks):
    assert may(stacks, "api", "dynamodb:BatchGetItem", TABLES["jobs"])
    assert may(stacks, "api", "dynamodb:Query", f"{TABLES['jobs']}/index/by-watch")
    assert not may(stacks, "worker", "dynamodb:Query", f"{TABLES['jobs']}/index/by-watch")


def control(stacks, role: str, action: str, kind: str) -> bool:
    keys = {"dynamodb__LeadingKeys": [kind]}
    return may(stacks, role, f"dynamodb:{action}", TABLES["control"], **keys)


def test_workers_report_themselves_and_hear_what_was_asked(stacks):
    for action in ("PutItem", "DeleteItem"):
        assert control(stacks, "worker", action, "worker")
        for kind in ("pause", "drain", "leader"):
            assert not control(stacks, "worker", action, kind)
    for kind in ("pause", "drain"):
        assert control(stacks, "worker", "Query", kind)
    assert not control(stacks, "worker", "Query", "worker")


def test_sessions_are_ended_by_the_api_and_never_begun_again(stacks):
    for action in ("GetItem", "PutItem"):
        assert control(stacks, "api", action, "session")
        assert not control(stacks, "worker", action, "session")
    for action in ("DeleteItem", "UpdateItem"):
        assert not control(stacks, "api", action, "session")


def test_the_api_asks_workers_and_cannot_speak_for_them(stacks):
    for kind in ("pause", "drain"):
        assert control(stacks, "api", "PutItem", kind)
        assert control(stacks, "api", "DeleteItem", kind)
    assert control(stacks, "api", "Query", "worker")
    for action in ("PutItem", "DeleteItem"):
        assert not control(stacks, "api", action, "worker")
        assert not control(stacks, "api", action, "leader")
    assert control(stacks, "api", "UpdateItem", "tick")
    assert not control(stacks, "api", "UpdateItem", "leader")
    assert may(stacks, "api", "sqs:GetQueueAttributes", DEFAULT)


def letters(stacks, role: str, action: str, item: str) -> bool:
    keys = {"dynamodb__LeadingKeys": [item]}
    return may(stacks, role, f"dynamodb:{action}", TABLES["letters"], **keys)


def test_the_api_reads_letters_and_plans_replays_and_writes_no_letter(stacks):
    for action in ("GetItem", "BatchGetItem", "Query"):
        assert may(stacks, "api", f"dynamodb:{action}", TABLES["letters"])
    assert may(stacks, "api", "dynamodb:Query", TABLES["letters"] + "/index/by-list")
    for action in ("PutItem", "UpdateItem"):
        for item in ("replays", "active", f"client-token.{'0' * 64}"):
            assert letters(stacks, "api", action, item)
        for item in ("0" * 32, f"m-{'0' * 32}", "groups.1", "replays2", "active.0"):
            assert not letters(stacks, "api", action, item), item
        assert not may(stacks, "api", f"dynamodb:{action}", TABLES["letters"])
    for action in ("DeleteItem", "Scan", "BatchWriteItem"):
        assert not may(stacks, "api", f"dynamodb:{action}", TABLES["letters"])
    assert may(stacks, "api", "s3:GetObject", f"{BUCKET}/letters/1/2")
    assert not may(stacks, "api", "s3:PutObject", f"{BUCKET}/letters/1/2")


def test_a_worker_reads_the_letters_it_is_asked_to_reveal_and_writes_none(stacks):
    assert may(stacks, "worker", "dynamodb:GetItem", TABLES["letters"])
    assert may(stacks, "worker", "s3:GetObject", f"{BUCKET}/letters/1/2")
    for action in ("PutItem", "UpdateItem", "DeleteItem", "Query", "Scan"):
        assert not may(stacks, "worker", f"dynamodb:{action}", TABLES["letters"])
    assert control(stacks, "api", "PutItem", "reveal")
    assert control(stacks, "worker", "UpdateItem", "reveal")
    assert not control(stacks, "worker", "PutItem", "reveal")
    assert not control(stacks, "worker", "UpdateItem", "pause")


def test_workers_alone_remember_which_requests_were_answered_and_how_many(stacks):
    for action in ("GetItem", "PutItem", "UpdateItem"):
        assert control(stacks, "worker", action, "revealed")
        assert not control(stacks, "api", action, "revealed")
    for role in ROLES:
        for action in ("DeleteItem", "BatchWriteItem"):
            assert not control(stacks, role, action, "revealed")


def in_transaction(operation: str = "TransactWriteItems") -> dict[str, Any]:
    return {"dynamodb__EnclosingOperation": [operation]}


def test_the_audit_log_is_appended_to_and_nobody_changes_it(stacks):
    assert may(stacks, "api", "dynamodb:Query", TABLES["audit"])
    assert not may(stacks, "worker", "dynamodb:Query", TABLES["audit"])
    for role in ROLES:
        assert may(stacks, role, "dynamodb:PutItem", TABLES["audit"], **in_transaction())
        for action in ("UpdateItem", "DeleteItem", "BatchWriteItem", "Scan"):
            assert not may(stacks, role, f"dynamodb:{action}", TABLES["audit"], **in_transaction())


def test_whoever_appends_to_the_audit_log_reads_its_head_and_no_line_that_way(stacks):
    appending = {
        "api": own(stacks, "api"),
        "worker": own(stacks, "worker"),
        "steward": own(stacks, "steward"),
        "operator": managed(stacks, "OperatorPolicy"),
        "eraser": managed(stacks, "EraserPolicy"),
    }
    together = {"dynamodb:EnclosingOperation": ["TransactWriteItems"]}
    for who, statements in appending.items():
        for day, allowed in (("head", True), ("2026-01-01", False)):
            context = {"dynamodb:LeadingKeys": [day]}
            request = Request("dynamodb:GetItem", TABLES["audit"], context)
            assert allows(statements, request) is allowed, (who, day)
        assert not allows(statements, Request("dynamodb:GetItem", TABLES["audit"])), who
        assert allows(statements, Request("dynamodb:PutItem", TABLES["audit"], together)), who
        # Alone, without the head that it moves on, nobody writes a line.
        assert not allows(statements, Request("dynamodb:PutItem", TABLES["audit"])), who
        assert not allows(statements, Request("dynamodb:DeleteItem", TABLES["audit"])), who


def test_tokens_are_looked_up_by_the_api_and_issued_by_neither(stacks):
    assert may(stacks, "api", "dynamodb:GetItem", TABLES["tokens"])
    assert not may(stacks, "worker", "dynamodb:GetItem", TABLES["tokens"])
    for role in ROLES:
        assert not may(stacks, role, "dynamodb:PutItem", TABLES["tokens"])


SECRETS = {
    "api": ["api/keys", "api/token-key", "shared/keyring", "shared/hmac"],
    "worker": [
        "worker/default/keys",
        "worker/keys",
        "app/webhooks/signing",
        "shared/keyring",
        "shared/hmac",
    ],
}
FOREIGN = {
    "api": [
        "worker/keys",
        "worker/default/keys",
        "app/webhooks/signing",
        "steward/keys",
        "apis/keys",
    ],
    "worker": [
        "worker/slow/keys",
        "worker/default-2/keys",
        "worker/defaul/keys",
        "api/keys",
        "api/token-key",
        "steward/keys",
    ],
}


def test_a_role_reads_the_rows_of_its_own_secrets(stacks, role):
    for action in ("dynamodb:GetItem", "dynamodb:Query"):
        for name in SECRETS[role]:
            keys = {"dynamodb__LeadingKeys": [name]}
            assert may(stacks, role, action, TABLES["secrets"], **keys), name
        for name in FOREIGN[role]:
            keys = {"dynamodb__LeadingKeys": [name]}
            assert not may(stacks, role, action, TABLES["secrets"], **keys), name
        mixed = {"dynamodb__LeadingKeys": [SECRETS[role][0], FOREIGN[role][0]]}
        assert not may(stacks, role, action, TABLES["secrets"], **mixed)
        assert not may(stacks, role, action, TABLES["secrets"])  # no key named at all


def test_neither_role_writes_secrets(stacks, role):
    keys = {"dynamodb__LeadingKeys": [SECRETS[role][0]]}
    for action in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "Scan"):
        assert not may(stacks, role, f"dynamodb:{action}", TABLES["secrets"], **keys)


def key_of(secret: str) -> str:
    owner = secret.split("/", maxsplit=1)[0]
    return "worker" if owner == "app" else owner


def test_a_role_decrypts_its_own_secrets_under_their_own_key(stacks, role):
    for name in SECRETS[role]:
        assert may_use_key(stacks, role, "kms:Decrypt", key_of(name), name), name


def test_a_role_decrypts_no_other_roles_secrets(stacks, role):
    other = "worker" if role == "api" else "api"
    for name in [*SECRETS[role], *FOREIGN[role]]:
        assert not may_use_key(stacks, role, "kms:Decrypt", other, name), name
        assert not may_use_key(stacks, role, "kms:Decrypt", "steward", name), name


def test_a_worker_decrypts_no_other_lane_s_keys(stacks):
    """The data layer's key is one for all lanes: the role's own policy tells them apart."""
    assert may_use_key(stacks, "worker", "kms:Decrypt", "worker", "worker/default/keys")
    for name in ("worker/slow/keys", "worker/default-2/keys", "worker/default", "worker/x"):
        assert not may_use_key(stacks, "worker", "kms:Decrypt", "worker", name), name


def test_a_fifo_lane_s_worker_reads_the_keys_of_its_lane(data):
    """The lane `ordered.fifo` of the settings is the templates' `ordered` with Fifo."""
    worker = Stack("worker", {"Lane": "ordered", "Fifo": "true"}, dict(data.exports))
    (policy,) = worker.resources["TaskRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    for name, allowed in (
        (private_name("worker", "ordered.fifo"), True),
        (private_name("worker", "ordered"), False),
    ):
        row = Request("dynamodb:GetItem", TABLES["secrets"], {"dynamodb:LeadingKeys": [name]})
        assert allows(statements, row) is allowed, name
        context = {"kms:EncryptionContext:environment": "prod", "kms:EncryptionContext:name": name}
        key = Request("kms:Decrypt", data.exports["sealwax-prod-worker-key-arn"], context)
        assert allows(statements, key) is allowed, name


def test_no_role_writes_the_keyring_that_says_who_is_an_operator(stacks):
    """Whoever could write it would enrol a key of their own, and read every dead letter."""
    keys = {"dynamodb__LeadingKeys": ["shared/keyring"]}
    for role in ("api", "worker", "steward"):
        for action in ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"):
            assert not may(stacks, role, f"dynamodb:{action}", TABLES["secrets"], **keys), role
        for action in ("kms:GenerateDataKey", "kms:Encrypt", "kms:ReEncryptTo"):
            assert not may_use_key(stacks, role, action, "shared", "shared/keyring"), role
        assert may(stacks, role, "dynamodb:GetItem", TABLES["secrets"], **keys), role
        assert may_use_key(stacks, role, "kms:Decrypt", "shared", "shared/keyring"), role


def test_a_key_decrypts_for_names_of_its_own_only(stacks, role):
    assert not may_use_key(stacks, role, "kms:Decrypt", role, "shared/keyring")
    assert not may_use_key(stacks, role, "kms:Decrypt", "shared", f"{role}/keys")


def test_a_key_decrypts_nothing_of_another_environment(stacks, role):
    assert not may_use_key(stacks, role, "kms:Decrypt", role, f"{role}/keys", environment="test")


def test_neither_role_makes_data_keys_for_secrets(stacks, role):
    for key in ("api", "worker", "steward", "shared"):
        for action in ("kms:GenerateDataKey", "kms:Encrypt", "kms:ReEncryptFrom"):
            assert not may_use_key(stacks, role, action, key, f"{key}/keys")


PRINCIPALS = {
    "api": "role/sealwax-prod-api",
    "worker": "role/sealwax-prod-worker_default",
    "other lane": "role/sealwax-prod-worker_slow",
    "steward": "role/sealwax-prod-steward",
    "execution": "role/sealwax-prod-execution",
    "other environment": "role/sealwax-test-api",
    "operator": "role/operator",
    "stranger": "user/stranger",
}
DECRYPTS = {
    "api": {"api", "operator"},
    "worker": {"worker", "other lane", "operator"},
    "steward": {"steward", "operator"},
    "shared": {"api", "worker", "other lane", "steward", "operator"},
}


@pytest.mark.parametrize("key", list(DECRYPTS))
def test_a_key_policy_holds_however_careless_the_roles_policies_are(data, key):
    policy = data.resources[f"{key.capitalize()}Key"]["Properties"]["KeyPolicy"]["Statement"]

    def who(action: str, **context: str) -> set[str]:
        return {
            name
            for name, principal in PRINCIPALS.items()
            if allows(
                policy,
                Request(
                    action,
                    "*",
                    {
                        "aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:{principal}",
                        "kms:EncryptionContext:environment": context.get("environment", "prod"),
                        "kms:EncryptionContext:name": context.get("name", f"{key}/keys"),
                    },
                ),
            )
        }

    assert who("kms:Decrypt") == DECRYPTS[key]
    assert who("kms:GenerateDataKey") == {"operator"}
    for action in ("kms:Encrypt", "kms:ReEncryptFrom", "kms:CreateGrant", "kms:GenerateMac"):
        assert who(action) == set()
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        assert who(action, environment="test") == set()
        assert who(action, name="other/keys") == set()


def test_operators_write_and_read_every_secret(stacks):
    for key in ("api", "worker", "steward", "shared"):
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            assert may_use_key(stacks, "operator", action, key, f"{key}/keys")
            assert not may_use_key(stacks, "stranger", action, key, f"{key}/keys")
    assert may_use_key(stacks, "operator", "kms:GenerateDataKey", "worker", "app/crm/token")


def test_administration_of_keys_includes_no_use_of_them(data):
    for logical, key in data.of_type("AWS::KMS::Key").items():
        for statement in key["KeyPolicy"]["Statement"]:
            if "Condition" not in statement:
                used = {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:CreateGrant"}
                assert not used & set(listed(statement["Action"])), logical
                # Without this nobody could ever change the policy again.
                assert "kms:PutKeyPolicy" in statement["Action"]


def test_the_api_checks_payloads_in_and_cannot_read_them(stacks):
    assert may(stacks, "api", "s3:PutObject", f"{BUCKET}/live/1/2")
    assert not may(stacks, "api", "s3:PutObject", f"{BUCKET}/dead/1/2")
    assert not may(stacks, "api", "s3:GetObject", f"{BUCKET}/live/1/2")


def test_a_worker_checks_payloads_out_buries_and_deletes_them(stacks):
    for prefix in ("live", "dead"):
        for action in ("GetObject", "PutObject", "DeleteObject"):
            assert may(stacks, "worker", f"s3:{action}", f"{BUCKET}/{prefix}/1/2")
    # S3 says 404 rather than 403 for a missing object to those only who may list.
    assert may(stacks, "worker", "s3:ListBucket", BUCKET)
    assert not may(stacks, "worker", "s3:PutObject", f"{BUCKET}/other")


def test_the_buckets_key_serves_by_way_of_s3_only(stacks):
    policy = stacks["data"].resources["PayloadsKey"]["Properties"]["KeyPolicy"]["Statement"]
    for role, name in [*ROLES.items(), ("steward", "sealwax-prod-steward")]:
        for action in ("kms:GenerateDataKey", "kms:Decrypt"):
            arn = stacks["data"].exports["sealwax-prod-payloads-key-arn"]
            context = {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/{name}"}
            direct = Request(action, arn, context)
            by_s3 = Request(
                action, arn, {**context, "kms:ViaService": f"s3.{REGION}.amazonaws.com"}
            )
            assert allows(policy, by_s3)
            assert allows(own(stacks, role), by_s3)
            assert not allows(policy, direct)
            assert not allows(own(stacks, role), direct)


def test_the_execution_role_reads_no_secret(stacks):
    _, statements = next(policies(stacks["cluster"]))
    actions = {action for item in statements for action in listed(item["Action"])}
    assert {action.split(":")[0] for action in actions} == {"ecr", "logs"}
