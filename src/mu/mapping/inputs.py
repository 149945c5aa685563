"""One input of a map, and what it is made of."""

from collections.abc import Mapping
from typing import NamedTuple

S3 = "s3://"


class Input(NamedTuple):
    """One input. `number` counts from 1; `text` is what `{}` stands for; `fields` are a row's columns by name.

    `size` (bytes) and `version` (an ETag, or modification time and size) are those of the file or object, as far
    as its source tells them; `refused` says why it cannot be done at all, such as an object in Glacier.
    """

    number: int
    text: str
    fields: Mapping[str, str] | None = None
    size: int | None = None
    version: str = ""
    refused: str = ""


def is_s3(place: str) -> bool:
    """Whether a path or a template names an object."""
    return place.startswith(S3)


def bucket_and_key(place: str) -> tuple[str, str]:
    """The two parts of `s3://BUCKET/KEY`; the key may be empty."""
    bucket, _, key = place.removeprefix(S3).partition("/")
    return bucket, key


def readable(text: str) -> bool:
    """Whether `text` is Unicode: a file's name that is no UTF-8 has bytes in it that are not."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
