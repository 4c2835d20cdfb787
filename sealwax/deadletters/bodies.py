"""Where a letter's body and attributes are: beside the letter, or in S3 when they are big.

Called by the archive and the replay engine. Both are kept byte for byte.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sealwax.aws.dynamodb import typed
from sealwax.aws.s3 import Bucket, ObjectMissing
from sealwax.deadletters.errors import LettersDenied, LettersUnreachable
from sealwax.deadletters.letter import Letter, LetterText, letter_key
from sealwax.deadletters.table import key

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

__all__ = ["BIG", "Bodies", "body_key"]

#: Bytes of body and attributes above which they go to S3: DynamoDB's items hold
#: 400 KB, and a kilobyte costs more there.
BIG = 65_536


class Bodies:
    """Puts and fetches letters' bodies.

    Parameters
    ----------
    client
        Returns a boto3 S3 client with time-outs; called when a big body is met.
    """

    def __init__(self, client: Callable[[], S3Client], bucket: str) -> None:
        self._bucket = Bucket(client, bucket, LettersUnreachable, LettersDenied)

    def item(self, letter: Letter, text: LetterText) -> dict[str, Any]:
        """Return the body's item, after what is big has been stored in S3.

        Raises
        ------
        LettersUnreachable, LettersDenied
        """
        attributes = json.dumps(
            {name: _readable(value) for name, value in text.attributes.items()},
            separators=(",", ":"),
        )
        values: dict[str, Any] = {}
        if text.said is not None:
            values["said"] = text.said
        if len(text.body) + len(attributes) > BIG:
            place = f"letters/{letter.id}/{letter.digest[:16]}"
            self._bucket.call("put_object", Key=place, Body=text.body, ContentType="text/plain")
            self._bucket.call("put_object", Key=f"{place}.attributes", Body=attributes.encode())
            values["place"] = place
        else:
            values |= {"body": text.body, "attributes": attributes}
        return body_key(letter) | typed(values)

    def text(self, item: dict[str, Any]) -> LetterText | None:
        """Return what an item of `item` holds, as plain values; None where S3 has it no more."""
        if "place" not in item:
            return LetterText(item["body"], _attributes(item["attributes"]), item.get("said"))
        try:
            body = self._bucket.read(item["place"])
            attributes = self._bucket.read(f"{item['place']}.attributes")
        except ObjectMissing:
            return None
        return LetterText(body, _attributes(attributes), item.get("said"))

    def delete(self, letter: Letter) -> None:
        """Delete what S3 has of a letter."""
        place = f"letters/{letter.id}/{letter.digest[:16]}"
        for each in (place, f"{place}.attributes"):
            self._bucket.call("delete_object", Key=each)


def body_key(letter: Letter) -> dict[str, Any]:
    """Return the key of a letter's body."""
    parts = letter_key(letter.id)
    if parts is None:
        raise ValueError("not a letter's id")
    return key(parts[0], f"body.{parts[1]}")


def _readable(value: dict[str, Any]) -> dict[str, Any]:
    data = value.get("BinaryValue")
    if data is None:
        return value
    return {**value, "BinaryValue": base64.b64encode(data).decode()}


def _attributes(text: str | bytes) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(text)
    for value in found.values():
        if "BinaryValue" in value:
            value["BinaryValue"] = base64.b64decode(value["BinaryValue"])
    return found
