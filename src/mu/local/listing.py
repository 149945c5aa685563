"""Lists buckets with little work for each page, instead of moto's work for each key.

moto goes through all keys of a bucket for each page of a listing, and sorts them as objects: a bucket of 100,000
takes minutes to list. Here a page without a delimiter is a slice of the sorted names, which are sorted again only
when they have changed. moto would also look up each field of each object in its model of the service, and parse the
time that it has just written, which takes most of a millisecond for each object. So moto answers without the objects,
which are added here (`shown`).
"""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any
from xml.sax.saxutils import escape

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, S3Backend

_of_moto = S3Backend.list_objects_v2
OWNER = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"  # moto's owner of every object
NONE, END = b"<KeyCount>0</KeyCount>", b"</ListBucketResult>"


class _Passing(threading.local):
    """What bypasses moto in this thread."""

    held_back = False  # whether a page is kept from moto
    page: list[Any] | None = None


_passing = _Passing()


class _Sorted:
    """The sorted names of the bucket that was listed last."""

    def __init__(self) -> None:
        self._now: tuple[list[str], list[str]] = [], []

    def names(self, keys: Any) -> list[str]:
        """Returns the names in order. Comparing them with the previous ones costs a hundredth of sorting them."""
        given = list(keys)  # copied at once, since other threads may change the keys
        before, names = self._now
        if given != before:
            names = sorted(given)
            self._now = given, names
        return names


_sorted = _Sorted()


def list_objects_v2(
    self: S3Backend,
    bucket: FakeBucket,
    prefix: str | None,
    delimiter: str | None,
    continuation_token: str | None,
    start_after: str | None,
    max_keys: int,
) -> tuple[Any, bool, str | None]:
    """Returns what moto's method returns, for listings without a delimiter."""
    if delimiter or type(bucket) is not FakeBucket or max_keys <= 0:
        return _of_moto(self, bucket, prefix, delimiter, continuation_token, start_after, max_keys)
    names = _sorted.names(bucket.keys)
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
            return _kept(page), cut, token
    return _kept(found), False, None


def _kept(page: list[Any]) -> list[Any]:
    """Returns the page, or an empty one while it is held back."""
    if not _passing.held_back:
        return page
    _passing.page = page
    return []


@contextmanager
def held_back() -> Iterator[Callable[[], list[FakeKey] | None]]:
    """Makes pages without a delimiter look empty to moto in this block, in this thread. The yielded function returns
    the objects of the requested page; None if moto has them."""
    _passing.held_back, _passing.page = True, None
    try:
        yield lambda: _passing.page
    finally:
        _passing.held_back = False


def shown(
    body: bytes, page: list[FakeKey], encoding: str | None, *, owner: bool, restored: bool = False
) -> bytes:
    """Returns moto's answer without objects, with those of the page added; `owner` and `restored` tell whether each
    object's owner and the state of its restoration are shown. Raises ValueError for another answer."""
    if not page:
        return body
    if body.count(NONE) != 1 or not body.rstrip().endswith(END):
        raise ValueError("moto has answered a listing in an unknown form")
    contents = "".join(_entry(key, encoding, owner, restored) for key in page).encode()
    head = body.rstrip()[: -len(END)].replace(NONE, b"<KeyCount>%d</KeyCount>" % len(page))
    return head + contents + END


def _entry(key: FakeKey, encoding: str | None, owner: bool, restored: bool) -> str:
    """Returns an object's entry in a listing."""
    name = escape(key.safe_name(encoding))
    algorithm = (
        f"<ChecksumAlgorithm>{key.checksum_algorithm}</ChecksumAlgorithm>" if key.checksum_algorithm else ""
    )
    whose = f"<Owner><DisplayName>webfile</DisplayName><ID>{OWNER}</ID></Owner>" if owner else ""
    return (
        f"<Contents><Key>{name}</Key><LastModified>{key.last_modified_ISO8601}</LastModified>"
        f"<ETag>{escape(key.etag)}</ETag>{algorithm}<Size>{key.size}</Size>"
        f"<StorageClass>{escape(str(key.storage_class))}</StorageClass>{whose}"
        f"{_restoration(key) if restored else ''}</Contents>"
    )


def _restoration(key: FakeKey) -> str:
    """Returns the state of an archived object's restoration, as in an entry; empty if it is not restored."""
    if key.expiry_date is None:
        return ""
    if key.status != "RESTORED":
        return "<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>"
    until = parsedate_to_datetime(key.expiry_date).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
        f"<RestoreExpiryDate>{until}</RestoreExpiryDate></RestoreStatus>"
    )


@contextmanager
def plug_in() -> Iterator[None]:
    """Replaces moto's listing, within this context."""
    S3Backend.list_objects_v2 = list_objects_v2  # type: ignore[method-assign]
    try:
        yield
    finally:
        S3Backend.list_objects_v2 = _of_moto  # type: ignore[method-assign]
