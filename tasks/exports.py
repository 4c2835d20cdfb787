"""`exports.build`: write records to S3 as CSV or JSON Lines.

The object's key follows from the job id, and a manifest with digest and row
count is written beside it last: an attempt that is repeated after that returns
what is there; one that died before starts over under the same key. Nobody ever
sees half an export, because S3 shows an object only when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from sealwax.aws.clients import Aws
from sealwax.aws.errors import error_code
from sealwax.job import Job
from sealwax.outcomes import Transient
from sealwax.settings import Settings
from sealwax.spreadsheets import csv_lines, guard
from sealwax.task_definition import InvalidPayload, task

__all__ = ["Built", "Export", "ExportSettings", "build", "columns_of", "export", "guard", "lines"]

#: S3 takes parts of at least 5 MiB, at most 10,000 of them.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
PART_BYTES = 8 * 1024 * 1024

#: Rows between two looks at the lease and two reports of progress.
STEP = 1_000

Record = dict[str, JsonValue]


class Export(BaseModel):
    """Records to write."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "jsonl"] = "csv"
    records: list[Record] = Field(max_length=1_000_000)
    columns: list[str] | None = Field(
        None, min_length=1, max_length=1_000, description="Of the CSV; default: all, as first seen."
    )

    @model_validator(mode="after")
    def _columns(self) -> Self:
        if self.columns is not None and len(set(self.columns)) != len(self.columns):
            raise ValueError("columns must differ from each other")
        return self


class ExportSettings(BaseModel):
    """`[tasks.exports]`."""

    model_config = ConfigDict(extra="forbid")

    bucket: str = Field(min_length=3, max_length=63)
    prefix: str = Field("exports/", pattern=r"^([A-Za-z0-9_-]+/)*$")


class Built(BaseModel):
    """Where the export is and what it holds."""

    bucket: str
    key: str
    rows: int
    bytes: int
    sha256: str


def columns_of(records: Iterable[Record]) -> list[str]:
    """Return all names that occur, in the order in which they are first seen."""
    return list(dict.fromkeys(name for record in records for name in record))


def lines(
    records: Iterable[Record],
    form: Literal["csv", "jsonl"],
    columns: Sequence[str] = (),
) -> Iterator[bytes]:
    """Yield an export line by line: the CSV's header first, then one for each record.

    CSV is UTF-8, guarded as `sealwax.spreadsheets` says. Lone surrogates are escaped in JSON and
    replaced in CSV, which has no escape for them.
    """
    if form == "jsonl":
        for record in records:
            text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            try:
                yield f"{text}\n".encode()
            except UnicodeEncodeError:
                yield json.dumps(record, separators=(",", ":")).encode() + b"\n"
        return
    rows = ([record.get(name) for name in columns] for record in records)
    for line in csv_lines(columns, rows):
        yield line.encode("utf-8", "replace")


class _Upload:
    """An object that is written in parts and appears whole or not at all."""

    def __init__(self, s3: Any, bucket: str, key: str, media_type: str, part_bytes: int) -> None:
        self._s3, self._part_bytes = s3, part_bytes
        self._place = {"Bucket": bucket, "Key": key}
        self._media_type = media_type
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._buffer = bytearray()
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        self._buffer += data
        self._digest.update(data)
        self.size += len(data)
        if len(self._buffer) >= self._part_bytes:
            self._flush()

    def _flush(self) -> None:
        if self._id is None:
            self._id = self._s3.create_multipart_upload(
                **self._place, ContentType=self._media_type
            )["UploadId"]
        number = len(self._parts) + 1
        answer = self._s3.upload_part(
            **self._place, UploadId=self._id, PartNumber=number, Body=bytes(self._buffer)
        )
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._buffer.clear()

    def finish(self) -> None:
        if self._id is None:
            self._s3.put_object(
                **self._place, Body=bytes(self._buffer), ContentType=self._media_type
            )
            return
        if self._buffer:
            self._flush()
        self._s3.complete_multipart_upload(
            **self._place, UploadId=self._id, MultipartUpload={"Parts": self._parts}
        )

    def abort(self) -> None:
        if self._id is not None:
            self._s3.abort_multipart_upload(**self._place, UploadId=self._id)


def build(
    payload: Export, job: Job, aws: Aws, settings: ExportSettings, *, part_bytes: int = PART_BYTES
) -> Built:
    """Write the export and return where it is.

    Its manifest (`<key>.json`: rows, bytes, SHA-256) is written last; a repeated
    attempt that finds it returns it.
    """
    s3 = aws.client("s3")
    key = f"{settings.prefix}{job.tenant}/{job.id}.{payload.format}"
    done = _manifest(s3, settings.bucket, f"{key}.json")
    if done is not None:
        return done
    total = len(payload.records)
    columns = payload.columns or (columns_of(payload.records) if payload.format == "csv" else [])
    media_type = "text/csv; charset=utf-8" if payload.format == "csv" else "application/x-ndjson"
    upload = _Upload(s3, settings.bucket, key, media_type, part_bytes)
    try:
        counted = _watched(payload.records, lambda rows: _report(job, rows, total))
        for line in lines(counted, payload.format, columns):
            upload.write(line)
        job.check()
        upload.finish()
    except BaseException:
        # Parts of an upload that is never completed are paid for; what a killed
        # process leaves behind is for the bucket's lifecycle rule.
        # Its own failure must not hide the reason.
        with contextlib.suppress(Exception):
            upload.abort()
        raise
    built = Built(
        bucket=settings.bucket, key=key, rows=total, bytes=upload.size, sha256=upload.sha256
    )
    s3.put_object(
        Bucket=settings.bucket,
        Key=f"{key}.json",
        Body=built.model_dump_json().encode(),
        ContentType="application/json",
    )
    job.progress(total, total, "done")
    return built


def _manifest(s3: Any, bucket: str, key: str) -> Built | None:
    try:
        answer = s3.get_object(Bucket=bucket, Key=key)
    except Exception as error:
        if error_code(error) in {"NoSuchKey", "404"}:
            return None
        raise
    return Built.model_validate_json(answer["Body"].read())


def _report(job: Job, rows: int, total: int) -> None:
    job.check()
    job.progress(rows, total, "writing")


def _watched(records: Sequence[Record], report: Callable[[int], None]) -> Iterator[Record]:
    """Yield the records, reporting before each `STEP` of them."""
    for number, record in enumerate(records):
        if number % STEP == 0:
            report(number)
        yield record


def _configure(settings: Settings) -> None:
    if "exports" in settings.tasks:
        settings.section("exports", ExportSettings)


def _validate(_: Export, settings: Settings) -> None:
    if "exports" not in settings.tasks:
        raise InvalidPayload("", "exports are not configured here")


@task(
    name="exports.build",
    contract=Export,
    time_limit=3_600,
    configure=_configure,
    validate=_validate,
    phases=("writing", "done"),
)
def export(payload: Export, job: Job) -> Built:
    """Write records to S3 as CSV or JSON Lines."""
    if job.aws is None:
        raise Transient("no-aws")
    section = job.settings.section("exports", ExportSettings)
    return build(payload, job, job.aws, section)
