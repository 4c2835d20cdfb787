"""How a team declares a task: a contract, a function, a decorator.

`@task` returns a `TaskDefinition`, a value: nothing is registered at import.
Roles call `discover` with the packages of the settings; the API uses contracts
only, the worker also calls the function.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import structlog
from pydantic import BaseModel

from sealwax.enrichment import EnrichmentContext
from sealwax.errors import ConfigurationError, SealwaxError
from sealwax.job import Job
from sealwax.retry import RetryPolicy
from sealwax.settings import Settings

__all__ = [
    "InvalidPayload", "NoTaskModules", "TaskDefinition", "TaskModuleNotFound", "discover", "task",
]  # fmt: skip

log = structlog.get_logger("sealwax.tasks")

Contract = TypeVar("Contract", bound=BaseModel)

_PHASE = re.compile(r"[a-z][a-z-]{0,31}")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")

#: Longest hard time limit in seconds: SQS keeps a message invisible for at most
#: 12 h after its receive, half an hour is kept for the lease's renewals.
MAX_TIME_LIMIT = 41_400

#: Bytes of the largest request that a task may ask for: 32 MiB of payload fit.
MAX_PAYLOAD = 34_000_000


class InvalidPayload(SealwaxError):
    """The payload fits the contract but not the configuration.

    Parameters
    ----------
    pointer
        JSON pointer into the payload, such as `/route`.
    detail
        What would be right; must not repeat the input.
    """

    def __init__(self, pointer: str, detail: str) -> None:
        self.pointer = pointer
        self.detail = detail
        super().__init__(f"{pointer}: {detail}")


def _no_secrets(_: Settings) -> Iterable[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class TaskDefinition(Generic[Contract]):
    """A business task: what the API validates and the worker runs."""

    name: str
    contract: type[Contract]
    function: Callable[[Any, Job], Any]
    version: int = 1
    lane: str = "default"
    retry: RetryPolicy | None = None
    time_limit: int | None = None
    max_payload: int | None = None
    secrets: Callable[[Settings], Iterable[str]] = _no_secrets
    validate: Callable[[Contract, Settings], None] | None = None
    configure: Callable[[Settings], None] | None = None
    enrich: Callable[[Contract, EnrichmentContext], BaseModel] | None = None
    enriched: type[BaseModel] | None = None
    edge_secrets: Callable[[Settings], Iterable[str]] = _no_secrets
    phases: tuple[str, ...] = ()

    @property
    def sealed_contract(self) -> type[BaseModel]:
        """What is sealed and what the function gets: the enriched contract, if there is one."""
        return self.enriched or self.contract

    def __call__(self, payload: Any, job: Job) -> Any:
        """Run the function itself: no queue, no envelope."""
        return self.function(payload, job)

    def policy(self, settings: Settings) -> RetryPolicy:
        """Return the retry policy with what the settings override.

        Raises
        ------
        ConfigurationError
            Where the result makes no sense.
        """
        own = self.retry or RetryPolicy(attempts=settings.limits.attempts)
        override = settings.retry.get(self.name)
        if override is None:
            return own
        return replace(own, **override.model_dump(exclude_none=True))

    @property
    def source(self) -> str:
        """Module and file of the function: `tasks.greetings (/app/tasks/greetings.py)`."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{self.function.__module__} ({code.co_filename if code else 'no file'})"

    @property
    def description(self) -> str:
        """First line of the function's docstring."""
        return (self.function.__doc__ or self.contract.__doc__ or "").strip().split("\n")[0]


def task(
    *,
    name: str,
    contract: type[Contract],
    version: int = 1,
    lane: str = "default",
    retry: RetryPolicy | None = None,
    time_limit: int | None = None,
    max_payload: int | None = None,
    secrets: Callable[[Settings], Iterable[str]] = _no_secrets,
    validate: Callable[[Contract, Settings], None] | None = None,
    configure: Callable[[Settings], None] | None = None,
    enrich: Callable[[Contract, EnrichmentContext], BaseModel] | None = None,
    enriched: type[BaseModel] | None = None,
    edge_secrets: Callable[[Settings], Iterable[str]] = _no_secrets,
    phases: tuple[str, ...] = (),
) -> Callable[[Callable[[Any, Job], Any]], TaskDefinition[Contract]]:
    """Declare a task.

    Parameters
    ----------
    name
        Dotted lower-case name, `domain.verb`; what callers send.
    contract
        pydantic model of the payload; validated by the API and again by the worker.
    version
        Version of the contract, 1 to 1,000,000; bound to the envelope.
    lane
        Lane whose queue carries the task.
    retry
        Policy; default: `limits.attempts` attempts (8), exponential with full jitter.
    time_limit
        Seconds after which the attempt is killed (prefork), 1 to 41,400;
        default: `limits.task_seconds`.
    max_payload
        Bytes of the largest request for it, 1 to 34,000,000, where `limits.request_bytes` are
        too few. An API process takes such requests one after the other.
    secrets
        Given the settings, names the secrets that the task reads with
        `job.secret(name)`; read once when the worker starts.
    validate
        Run by the API after the contract, for what only configuration knows;
        raises `InvalidPayload`.
    configure
        Run once when a role starts; raises `ConfigurationError` where the
        task's section of the settings is wrong.
    enrich, enriched
        A function that the API calls before it seals, and the model that it
        returns: the function of the task then gets that model.
    edge_secrets
        Like `secrets`, for `enrich`: named `api/…`, under the API's key.
    phases
        What `job.progress` may name: a fixed set, since free text could hold
        the payload.

    Example
    -------
    >>> class Greeting(BaseModel):
    ...     name: str
    >>> @task(name="demo.greet", contract=Greeting)
    ... def greet(payload: Greeting, job: Job) -> None:
    ...     job.log.info("greeted")
    """
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ConfigurationError(
            f"Task name {name!r} must be dotted lower-case such as `webhooks.relay`, "
            "at most 100 characters."
        )
    if not 1 <= version <= 1_000_000:
        raise ConfigurationError(f"Task {name}: version must be 1 to 1,000,000.")
    if time_limit is not None and not 1 <= time_limit <= MAX_TIME_LIMIT:
        raise ConfigurationError(
            f"Task {name}: time_limit must be 1 to {MAX_TIME_LIMIT} seconds, because SQS keeps "
            "a message invisible for at most 12 hours."
        )

    if max_payload is not None and not 1 <= max_payload <= MAX_PAYLOAD:
        raise ConfigurationError(f"Task {name}: max_payload must be 1 to {MAX_PAYLOAD} bytes.")
    if (enrich is None) != (enriched is None):
        raise ConfigurationError(f"Task {name}: enrich and enriched belong together.")
    if not all(_PHASE.fullmatch(phase) for phase in phases):
        raise ConfigurationError(f"Task {name}: phases are lower-case words of 1 to 32 letters.")

    def declare(function: Callable[[Any, Job], Any]) -> TaskDefinition[Contract]:
        return TaskDefinition(
            name=name,
            contract=contract,
            function=function,
            version=version,
            lane=lane,
            retry=retry,
            time_limit=time_limit,
            max_payload=max_payload,
            secrets=secrets,
            validate=validate,
            configure=configure,
            enrich=enrich,
            enriched=enriched,
            edge_secrets=edge_secrets,
            phases=phases,
        )

    return declare


class TaskModuleNotFound(ConfigurationError):
    """A module that `task_modules` names is not there; start in the folder that holds it."""


class NoTaskModules(ConfigurationError):
    """No task is served: set `task_modules` in sealwax.toml, such as `task_modules = ["tasks"]`."""


def _modules(names: Iterable[str]) -> Iterable[ModuleType]:
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and imports something that is not
            raise TaskModuleNotFound(
                f"task_modules names {name}, but there is no module {error.name} in {Path.cwd()} "
                "or the environment; start in the folder that holds it, name that with "
                "`sealwax --app-dir`, or install it."
            ) from error
        yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
            yield importlib.import_module(f"{name}.{found.name}")


def discover(names: Iterable[str]) -> dict[str, TaskDefinition[Any]]:
    """Import the named packages and their direct modules; return their tasks by name.

    Logs each task with the module and the file that it comes from: a task of another
    project on the path is seen at once.

    Raises
    ------
    NoTaskModules
        Where no package is named.
    TaskModuleNotFound
        Where a package is not there.
    ConfigurationError
        Where two tasks share a name.
    """
    names = list(names)
    if not names:
        raise NoTaskModules
    found: dict[str, TaskDefinition[Any]] = {}
    for module in _modules(names):
        for value in vars(module).values():
            if not isinstance(value, TaskDefinition):
                continue
            other = found.setdefault(value.name, value)
            if other is not value:
                raise ConfigurationError(
                    f"Two tasks are called {value.name}, one of them in {value.source}; rename one."
                )
    for definition in found.values():
        log.info(
            "task served", task=definition.name, lane=definition.lane, source=definition.source
        )
    return found
