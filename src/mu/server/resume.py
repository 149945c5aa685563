"""Finds the parts of a job whose outputs are not in S3 yet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mu.aws import client, explained
from mu.errors import UsageError, describe
from mu.machine import listed
from mu.server.ledger import Part
from mu.wire.protocol import spread


def unfinished(info: Any, parts: Sequence[Part], region: str) -> list[Part]:
    """Returns the parts that lack at least one of their outputs, or have none.

    A script names outputs by a static method `outputs(part)` on its `ServerInfo`, which returns S3 keys in
    `info.bucket`. An object in S3 is always complete, so its existence is enough. Raises UsageError if there is no
    such method, MuError if S3 cannot be asked.
    """
    name_outputs = getattr(info, "outputs", None)
    if name_outputs is None:
        raise UsageError(
            "--resume needs to know what each part makes: give ServerInfo a static method outputs(part)"
        )
    wanted: list[tuple[Part, list[str]]] = []
    for part in parts:
        number = listed(part.number)
        try:
            keys = name_outputs(number)
            wanted.append((part, [keys] if isinstance(keys, str) else list(keys)))
        except UsageError:
            raise
        except Exception as error:
            raise UsageError(
                f"ServerInfo.outputs({number}): {describe(error)}; it must be a static method that takes a part's "
                "number and returns the key of its output, or a list of keys"
            ) from None
    if getattr(info, "hashed_names", False):
        wanted = [(part, [spread(key) for key in keys]) for part, keys in wanted]
    there = _existing(info.bucket, region, [key for _, keys in wanted for key in keys])
    return [part for part, keys in wanted if not keys or not there.issuperset(keys)]


def _existing(bucket: str, region: str, keys: Sequence[str]) -> set[str]:
    """Returns those of `keys` that exist in the bucket; a listing costs one request for a thousand objects."""
    if not keys:
        return set()
    sought = set(keys)
    if bucket.startswith("file://"):
        root = Path(unquote(bucket.removeprefix("file://")))
        return {key for key in sought if (root / key).is_file()}
    # One listing for each folder. If there are as many folders as outputs, or no folders, the whole bucket is listed.
    folders = {key.rpartition("/")[0] for key in keys}
    starts = [f"{folder}/" for folder in folders] if len(folders) < len(keys) and "" not in folders else [""]
    found: set[str] = set()
    with explained(f"looking for outputs in the bucket {bucket}"):
        pages = client("s3", region).get_paginator("list_objects_v2")
        for start in starts:
            for page in pages.paginate(Bucket=bucket, Prefix=start):
                found.update(entry["Key"] for entry in page.get("Contents", ()))
    return found & sought
