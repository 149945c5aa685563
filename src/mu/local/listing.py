"""Listings of a bucket whose work for a page does not grow with all that moto does for each key.

moto goes through all keys of a bucket for each page of a listing, and sorts them as objects: a bucket of 100,000 takes
minutes to list. Without a delimiter a page is a slice of the sorted names.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.s3.models import FakeBucket, FakeDeleteMarker, S3Backend

_of_moto = S3Backend.list_objects_v2


def list_objects_v2(
    self: S3Backend,
    bucket: FakeBucket,
    prefix: str | None,
    delimiter: str | None,
    continuation_token: str | None,
    start_after: str | None,
    max_keys: int,
) -> tuple[Any, bool, str | None]:
    """What moto's method answers, for listings without a delimiter."""
    if delimiter or type(bucket) is not FakeBucket or max_keys <= 0:
        return _of_moto(self, bucket, prefix, delimiter, continuation_token, start_after, max_keys)
    names = sorted(list(bucket.keys))  # noqa: C414 - the list is made at once, whatever other threads do to the keys
    begin = bisect_left(names, prefix) if prefix else 0
    after = self._pagination_tokens.get(continuation_token) if continuation_token else start_after
    if after:
        begin = max(begin, bisect_right(names, after))
    found: list[Any] = []
    for place in range(begin, len(names)):
        name = names[place]
        if prefix and not name.startswith(prefix):
            break
        key = bucket.keys.get(name)
        if key is None or isinstance(key, FakeDeleteMarker):
            continue
        found.append(key)
        if len(found) > max_keys:
            page, cut, token = self._truncate_result(found, max_keys)
            return page, cut, token
    return found, False, None


@contextmanager
def plug_in() -> Iterator[None]:
    """Have moto list so, for as long."""
    S3Backend.list_objects_v2 = list_objects_v2  # type: ignore[method-assign]
    try:
        yield
    finally:
        S3Backend.list_objects_v2 = _of_moto  # type: ignore[method-assign]
