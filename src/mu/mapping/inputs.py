"""One input of a map."""

from collections.abc import Mapping
from typing import NamedTuple

from mu.errors import UsageError

S3 = "s3://"


class Input(NamedTuple):
    """One input. `number` counts from 1; `text` replaces `{}`; `fields` are a row's columns by name.

    `size` (bytes) and `version` (an ETag, or modification time and size) describe the file or object, if its source
    tells them. `versions` are those of the files of this machine that a row's columns name, by field, such as
    `in:photo`; then `version` has all of them. `refused` is the reason why the input cannot be done at all, such as an
    object in Glacier.
    """

    number: int
    text: str
    fields: Mapping[str, str] | None = None
    size: int | None = None
    version: str = ""
    refused: str = ""
    versions: Mapping[str, str] = {}


def is_s3(place: str) -> bool:
    """Returns whether a path or a template names an object in S3."""
    return place.startswith(S3)


def check_written(place: str, where: str) -> None:
    """Raises UsageError if a path or a template of `where` is most likely meant to name an object, but does not."""
    if is_nearly_s3(place):
        raise UsageError(f"{where}: write s3://BUCKET/KEY for an object, or ./{place} for a file")


def is_nearly_s3(place: str) -> bool:
    """Returns whether a path of this machine is most likely a misspelt name of an object, such as `s3:/BUCKET/KEY`."""
    return place[:3].lower() == "s3:" and not is_s3(place)


def bucket_and_key(place: str) -> tuple[str, str]:
    """Returns the two parts of `s3://BUCKET/KEY`; the key may be empty."""
    bucket, _, key = place.removeprefix(S3).partition("/")
    return bucket, key


def is_directory_bucket(bucket: str) -> bool:
    """Returns whether a bucket is a directory bucket (S3 Express One Zone), of which S3 does less than of others."""
    return bucket.endswith("--x-s3")


def readable(text: str) -> bool:
    """Returns whether `text` is valid Unicode; a file name that is not UTF-8 is not."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
