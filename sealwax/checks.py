"""Everything `sealwax check` looks at, as data: configuration, AWS, secrets, keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from sealwax.aws import Aws, error_code
from sealwax.errors import SealwaxError
from sealwax.keyring import Keyring
from sealwax.provision import audit
from sealwax.runtime import make_source
from sealwax.secrets import SecretSource
from sealwax.settings import Settings
from sealwax.task import discover

__all__ = ["Check", "run_checks"]


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, and what is wrong with it (None: nothing)."""

    kind: str
    name: str
    problem: str | None = None
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is as it should be."""
        return self.problem is None


def run_checks(settings: Settings, aws: Aws) -> Iterator[Check]:
    """Look at everything, one check at a time; never raises for what it finds."""
    yield Check("configuration", settings.environment)
    wanted = set()
    try:
        definitions = discover(settings.task_modules)
        for definition in definitions.values():
            settings.queue_name(definition.lane)
            if definition.configure is not None:
                definition.configure(settings)
            wanted |= set(definition.secrets(settings))
        yield Check("tasks", ", ".join(sorted(definitions)) or "none")
    except SealwaxError as error:
        yield Check("tasks", ", ".join(settings.task_modules), str(error), "mend the configuration")
    try:
        for finding in audit(settings, aws):
            yield Check(finding.kind, finding.name, finding.problem, finding.remedy)
    except (BotoCoreError, ClientError) as error:
        yield Check(
            "aws",
            error_code(error),
            "AWS does not answer as it should",
            "check credentials, AWS_REGION, AWS_ENDPOINT_URL and the network",
        )
        return
    yield from _check_secrets(make_source(settings, aws), wanted)


def _check_secrets(source: SecretSource, wanted: set[str]) -> Iterator[Check]:
    documents = {}
    keys = ("api/keys", "worker/keys", "shared/keyring", "shared/hmac", "api/token-key")
    for name in (*keys, *sorted(wanted)):
        try:
            documents[name] = source.get(name)
            yield Check("secret", name)
        except SealwaxError as error:
            remedy = "run `sealwax keys init`" if name in keys else "put it with credstash"
            yield Check("secret", name, str(error), remedy)
    for role in ("api", "worker"):
        if f"{role}/keys" not in documents or "shared/keyring" not in documents:
            continue
        try:
            keyring = Keyring.load(role, documents[f"{role}/keys"], documents["shared/keyring"])
            keyring.recipient("worker" if role == "api" else "api")
            yield Check("keys", role)
        except SealwaxError as error:
            yield Check("keys", role, str(error), "run `sealwax keys list` and rotate")
