"""Policies and recorded calls, both ways: each call is allowed, each statement is needed.

The calls are the product's own, of all roles and of the people who operate it
(`tools/record_calls.py`), and a few that ECS makes for us. A policy is held to them by
mutation: without a statement, an action or a resource of it some call must fail.
What no call needs stands below with its reason, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.account import Account
from support.recorded_calls import Call, read_calls
from support.templates import ACCOUNT, REGION, Request, listed

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/prod"
PEOPLE = ("api", "worker", "steward", "operator", "eraser", "execution")

#: Calls that are refused on purpose, with the reason.
REFUSED = {
    "operator sqs:SendMessage queue/own": "jobs verify --repair is for whoever may send as well",
}

#: Calls of ECS itself, in the execution role's name.
OF_ECS = [
    ("ecr:GetAuthorizationToken", "*"),
    *(
        (f"ecr:{action}", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/sealwax")
        for action in (
            "BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"
        )
    ),
    *(
        (f"logs:{action}", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/sealwax/prod/{role}:*")
        for action in ("CreateLogStream", "PutLogEvents")
        for role in ("api", "worker", "steward")
    ),
]  # fmt: skip

NO_SECRET = "stewards have no secret yet; their key is made so that one may be put"
KEYS_OF_ALL_LANES = "environments older than keys per lane have `worker/keys`"
IN_THE_BACKGROUND = (
    "what jobs submit and send again leaves on threads that no principal is known of"
)
ADMINISTRATION = "people's and CloudFormation's, so that a key can be kept up at all"
LEFT_OVER = "for what a batch has left unprocessed, which emulators never do"

#: What no recorded call needs, by policy and statement: the reason, and what of it
#: (`all`; None: whatever is in it).
UNUSED: dict[tuple[str, str], tuple[str, set[str] | None]] = {
    **{
        (f"data {key}Key", "AccountMayAdministrate"): (ADMINISTRATION, None)
        for key in ("Api", "Worker", "Steward", "Shared", "Payloads")
    },
    ("data StewardKey", "OperatorsMayWriteAndRead"): (NO_SECRET, {"all"}),
    ("data StewardKey", "RolesMayRead"): (NO_SECRET, {"all"}),
    ("data OperatorPolicy", "EncryptAndDecryptSecrets"): (NO_SECRET, {f"{KEY}/StewardKey"}),
    ("data EraserPolicy", "Outbox"): (LEFT_OVER, {"dynamodb:DeleteItem"}),
    ("data EraserPolicy", "Payloads"): (
        "a dead job's payload, as a live one's: no suite erases one with such a payload",
        {f"arn:aws:s3:::sealwax-prod-payloads-{ACCOUNT}/dead/*"},
    ),
    ("steward TaskRole", "DecryptOwnSecrets"): (
        NO_SECRET,
        {f"{KEY}/StewardKey", "kms:EncryptionContext:name steward/*"},
    ),
    ("steward TaskRole", "OwnSecrets"): (NO_SECRET, {"dynamodb:LeadingKeys steward/*"}),
    ("steward TaskRole", "Outbox"): (
        f"{LEFT_OVER}; and putting off what SQS refuses by entry",
        {"dynamodb:DeleteItem", "dynamodb:UpdateItem"},
    ),
    ("worker TaskRole", "BodiesToReveal"): (
        "big letters' bodies, which the suites of reveals have none of",
        {"all"},
    ),
    ("worker TaskRole", "Consume"): (IN_THE_BACKGROUND, {"sqs:SendMessage"}),
    ("worker TaskRole", "FollowUp"): (IN_THE_BACKGROUND, {"all"}),
    ("worker TaskRole", "Jobs"): (IN_THE_BACKGROUND, {"dynamodb:PutItem"}),
    ("worker TaskRole", "DecryptOwnSecrets"): (
        KEYS_OF_ALL_LANES,
        {"kms:EncryptionContext:name worker/keys"},
    ),
    ("worker TaskRole", "OwnSecrets"): (KEYS_OF_ALL_LANES, {"dynamodb:LeadingKeys worker/keys"}),
}


@pytest.fixture
def account() -> Account:
    return Account({"prod": ["default", "slow"]})


def asked(account: Account, calls: list[Call]) -> list[tuple[str, Request]]:
    """Return all that IAM is asked, by whom: what S3 asks of the key included."""
    found = [("execution", Request(action, resource)) for action, resource in OF_ECS]
    for call in calls:
        every = [call]
        if call.on in ("queue/own", "dlq/own") and call.who != "worker":
            every.append(replace(call, on=call.on.replace("own", "other")))  # all lanes alike
        for each in every:
            request = each.request(account, "prod")
            found += [(call.who, one) for one in (request, *account.behind("prod", request))]
    return found


def allowed(account: Account, questions: list[tuple[str, Request]]) -> bool:
    people = account.principals["prod"]
    return all(account.allows(people[who], request) for who, request in questions)


CALLS = [call for call in read_calls() if str(call) not in REFUSED]


def test_every_principal_is_recorded():
    assert {call.who for call in CALLS} == set(PEOPLE) - {"execution"}


@pytest.mark.parametrize("who", PEOPLE)
def test_each_recorded_call_is_allowed(account, who):
    refused = [
        str(call)
        for call in CALLS
        if call.who == who and not allowed(account, asked(account, [call]))
    ]
    assert refused == []


def test_what_is_refused_on_purpose_is_recorded_and_refused(account):
    known = {str(call): call for call in read_calls()}
    for name in REFUSED:
        request = known[name].request(account, "prod")
        assert not account.allows(account.principals["prod"][known[name].who], request), name


def parts(statement: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a statement may lose: each action, each resource, each value of a condition."""
    for field in ("Action", "Resource"):
        values = listed(statement[field])
        for value in values if len(values) > 1 else ():
            yield f"{value}", {field: [each for each in values if each != value]}
    for operator, keys in statement.get("Condition", {}).items():
        for key, wanted in keys.items():
            # Whom OperatorArns names is a parameter's affair.
            values = [each for each in listed(wanted) if ":role/eraser" not in each]
            for value in values if len(values) > 1 else ():
                left = {**keys, key: [each for each in listed(wanted) if each != value]}
                condition = {**statement["Condition"], operator: left}
                yield f"{key} {value}", {"Condition": condition}


def unneeded(account: Account) -> dict[tuple[str, str], set[str]]:
    """Return what of each statement could go without a call that fails."""
    questions = asked(account, CALLS)
    assert allowed(account, questions)
    found: dict[tuple[str, str], set[str]] = {}
    for policy in account.policies:
        if policy.template == "worker" and policy.statements is not _of_worker(account):
            continue  # another lane's role is the same template
        for number, statement in enumerate(list(policy.statements)):
            if statement["Effect"] == "Deny":
                continue
            name = (f"{policy.template} {policy.logical}", statement["Sid"])
            policy.statements.pop(number)
            needed = not allowed(account, questions)
            policy.statements.insert(number, statement)
            if not needed:
                found.setdefault(name, set()).add("all")
                continue
            for part, change in parts(statement):
                policy.statements[number] = {**statement, **change}
                if allowed(account, questions):
                    found.setdefault(name, set()).add(part)
                policy.statements[number] = statement
    return found


def _of_worker(account: Account) -> list[dict[str, Any]]:
    (policy,) = account.principals["prod"]["worker"].policies
    return policy.statements


def test_every_statement_is_needed_by_a_call_or_named(account):
    found = unneeded(account)
    expected = {
        name: found.get(name, {"nothing"}) if parts is None else parts
        for name, (_, parts) in UNUSED.items()
    }
    assert found == expected


def test_a_deny_holds_against_every_allow(account):
    """Without TLS nothing of the bucket and the queues answers; with it, all that is recorded."""
    kinds = set()
    for call in CALLS:
        request = call.request(account, "prod")
        if request.action.startswith(("s3:", "sqs:")):
            request.context["aws:SecureTransport"] = "false"
            assert not account.allows(account.principals["prod"][call.who], request), str(call)
            kinds.add(call.on.partition("/")[0])
    assert kinds == {"bucket", "queue", "dlq"}


#: A call of each kind that a condition refuses: what was said of it is changed, or not said.
CHANGED: dict[str, list[Any]] = {
    "dynamodb:LeadingKeys": [None, ["elsewhere"]],
    "dynamodb:EnclosingOperation": [None, ["BatchWriteItem"]],
    "kms:EncryptionContext:environment": [None, "other"],
    "kms:EncryptionContext:name": [None, "elsewhere"],
    "kms:ViaService": [None, "dynamodb.eu-central-1.amazonaws.com"],
    "s3:prefix": ["elsewhere/"],
}


def conditioned(account: Account) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    for policy in account.policies:
        if policy.template == "worker" and policy.statements is not _of_worker(account):
            continue
        for number, statement in enumerate(policy.statements):
            if "Condition" in statement and statement["Effect"] == "Allow":
                yield (
                    f"{policy.template} {policy.logical} {statement['Sid']}",
                    (policy.statements),
                    number,
                )


def test_without_its_condition_a_statement_allows_what_must_be_refused(account):
    """Each call with what its condition looks at changed, by each principal."""
    people = account.principals["prod"]
    strangers = []
    for who, request in asked(account, CALLS):
        for key, values in CHANGED.items():
            for value in values if key in request.context else ():
                context = {name: each for name, each in request.context.items() if name != key}
                if value is not None:
                    context[key] = value
                strangers.append((who, Request(request.action, request.resource, context)))
        # Somebody else with a careless policy: the key's own must hold.
        if request.action.startswith("kms:"):
            strangers += [(each, request) for each in people if each != who]
    # Each of two policies by itself: a key's must hold whatever a role's says, and the reverse.
    before = [account.judged(people[who], each) for who, each in strangers]
    assert sum("Allow" not in own & others for own, others in before) > 300
    survivors = []
    for name, statements, number in list(conditioned(account)):
        statement = statements[number]
        statements[number] = {k: v for k, v in statement.items() if k != "Condition"}
        after = (account.judged(people[who], each) for who, each in strangers)
        if all(then == now for then, now in zip(before, after, strict=True)):
            survivors.append(name)
        statements[number] = statement
    unused = [" ".join(name) for name, (_, parts) in UNUSED.items() if parts == {"all"}]
    assert [name for name in survivors if name not in unused] == []
