"""Exports in an emulated S3."""

from __future__ import annotations

import hashlib
import json

import pytest

from sealwax.aws.clients import Aws
from sealwax.job import Job, LeaseLost
from sealwax.settings import Settings
from tasks.exports import Export, ExportSettings, build

JOB = "0123456789abcdef0123456789abcdef"
PART = 5 * 1024 * 1024


@pytest.fixture
def aws(moto_server, monkeypatch):
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": moto_server,
    }.items():
        monkeypatch.setenv(name, value)
    return Aws()


@pytest.fixture
def settings(aws, request):
    bucket = "exports-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    aws.client("s3").create_bucket(Bucket=bucket)
    return ExportSettings(bucket=bucket)


def job_for(**fields):
    return Job(
        id=JOB,
        task="exports.build",
        tenant="ab",
        attempt=1,
        accepted_at=0.0,
        settings=Settings(),
        **fields,
    )


def stored(aws, built):
    return aws.client("s3").get_object(Bucket=built.bucket, Key=built.key)["Body"].read()


def test_a_small_export_is_one_object(aws, settings):
    built = build(Export(records=[{"a": 1, "b": "é"}]), job_for(), aws, settings)
    data = stored(aws, built)
    assert data.decode() == "a,b\r\n1,é\r\n"
    assert built.key == f"exports/ab/{JOB}.csv"
    assert (built.rows, built.bytes) == (1, len(data))
    assert built.sha256 == hashlib.sha256(data).hexdigest()


def test_an_empty_export_is_an_object_too(aws, settings):
    built = build(Export(records=[], format="jsonl"), job_for(), aws, settings)
    assert (stored(aws, built), built.rows) == (b"", 0)


def test_a_large_export_goes_in_parts_and_reports_its_progress(aws, settings):
    seen = []
    records = [{"n": number, "filler": "x" * 2_000} for number in range(5_500)]
    built = build(
        Export(records=records, format="jsonl"),
        job_for(reporter=lambda *report: seen.append(report)),
        aws,
        settings,
        part_bytes=PART,
    )
    data = stored(aws, built)
    assert [json.loads(line) for line in data.splitlines()] == records
    assert built.sha256 == hashlib.sha256(data).hexdigest()
    assert aws.calls["s3.UploadPart"] == 3
    assert seen == [(n, 5_500, "writing") for n in range(0, 5_500, 1_000)] + [
        (5_500, 5_500, "done")
    ]


def test_a_repeated_attempt_returns_what_is_there(aws, settings):
    first = build(Export(records=[{"a": 1}]), job_for(), aws, settings)
    aws.calls.clear()
    assert build(Export(records=[{"a": 1}]), job_for(), aws, settings) == first
    assert dict(aws.calls) == {"s3.GetObject": 1}


def test_an_attempt_that_died_before_its_manifest_is_repeated(aws, settings):
    first = build(Export(records=[{"a": 1}]), job_for(), aws, settings)
    aws.client("s3").delete_object(Bucket=first.bucket, Key=f"{first.key}.json")
    assert build(Export(records=[{"a": 1}]), job_for(), aws, settings) == first


def test_a_lost_lease_leaves_no_object_and_no_parts(aws, settings):
    calls = []

    def checker():
        calls.append(1)
        if len(calls) > 4:
            raise LeaseLost

    records = [{"filler": "x" * 2_000} for _ in range(5_000)]
    with pytest.raises(LeaseLost):
        build(
            Export(records=records),
            job_for(checker=checker),
            aws,
            settings,
            part_bytes=PART,
        )
    s3 = aws.client("s3")
    assert aws.calls["s3.UploadPart"] == 1
    assert s3.list_objects_v2(Bucket=settings.bucket)["KeyCount"] == 0
    assert s3.list_multipart_uploads(Bucket=settings.bucket).get("Uploads", []) == []
