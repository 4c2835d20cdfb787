"""Where clients go: the region that somebody named, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwax.aws.clients import Aws, AwsTimeouts
from sealwax.aws.dynamodb_http import DynamoDbHttpClient
from sealwax.errors import ConfigurationError

PROFILES = "[default]\n{default}[profile far]\nregion = ap-south-1\n[profile none]\noutput = json\n"


@pytest.fixture
def aws_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "config"
    path.write_text(PROFILES.format(default=""))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    return path


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"AWS_PROFILE": "far"}, "ap-south-1"),
        ({"AWS_PROFILE": "far", "AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_PROFILE": "far", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_PROFILE": "none", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-2"}, "eu-west-2"),
    ],
)
def test_the_region_is_that_which_somebody_named(
    aws_config: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Aws().region == region
    assert Aws(region="sa-east-1").region == "sa-east-1"


def test_the_default_profiles_region_counts(aws_config: Path) -> None:
    aws_config.write_text(PROFILES.format(default="region = eu-north-1\n"))
    assert Aws().region == "eu-north-1"


@pytest.mark.parametrize(
    ("profile", "named"), [(None, "AWS_REGION"), ("none", "AWS_REGION"), ("no-such", "no-such")]
)
def test_no_region_is_an_error_that_says_what_to_set(
    aws_config: Path, monkeypatch: pytest.MonkeyPatch, profile: str | None, named: str
) -> None:
    if profile:
        monkeypatch.setenv("AWS_PROFILE", profile)
    with pytest.raises(ConfigurationError, match=named):
        Aws().client("sqs")


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.usefixtures("aws_config")
def test_calls_on_items_go_directly_and_have_as_many_tries_as_before(attempts: int) -> None:
    aws = Aws(AwsTimeouts(attempts=attempts), region="eu-west-1")
    client = aws.client("dynamodb")
    assert isinstance(client, DynamoDbHttpClient)
    others = client._others
    if attempts == 1:
        assert others is None
    else:
        assert others is not None
        assert others().meta.config.retries["total_max_attempts"] == attempts - 1
        assert others() is others() is not client


@pytest.mark.usefixtures("aws_config")
def test_all_calls_go_by_boto3_where_somebody_wants_it() -> None:
    aws = Aws(AwsTimeouts(direct=False), region="eu-west-1")
    assert not isinstance(aws.client("dynamodb"), DynamoDbHttpClient)
