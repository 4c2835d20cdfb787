"""The commands of docs/deploy.md name parameters that exist, and all that are needed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from support.templates import NAMES, load

DOCUMENT = Path(__file__).parent.parent.parent.parent / "docs" / "deploy.md"


def deployments() -> list[tuple[str, list[str]]]:
    """Return template and parameters of each `aws cloudformation deploy`."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith("aws cloudformation deploy"):
                continue
            words = shlex.split(line)
            template = words[words.index("--template-file") + 1]
            parameters = words[words.index("--parameter-overrides") + 1 :]
            found.append((Path(template).stem, [word.partition("=")[0] for word in parameters]))
    return found


def test_every_layer_is_deployed_in_the_order_in_which_they_import():
    order = list(dict.fromkeys(name for name, _ in deployments()))
    assert order == ["data", "queues", "cluster", "steward", "worker", "api"]
    assert set(order) == set(NAMES)


@pytest.mark.parametrize("template", NAMES)
def test_the_first_deployment_gives_what_has_no_default_and_nothing_unknown(template):
    parameters = load(template)["Parameters"]
    given = next(names for name, names in deployments() if name == template)
    needed = {name for name, spec in parameters.items() if "Default" not in spec}
    assert needed <= set(given) <= set(parameters)


def test_later_deployments_name_known_parameters():
    for template, given in deployments():
        assert set(given) <= set(load(template)["Parameters"])


def test_every_template_is_named():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"`ecs/{name}.yaml`" in text for name in NAMES)
