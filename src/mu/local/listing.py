"""Lists buckets with little work for each page, instead of moto's work for each key.

moto goes through all keys of a bucket for each page of a listing, and sorts them as objects: a bucket of 100,000
takes minutes to list. Its ListObjects also puts all common prefixes into each page. Here a page is a slice of the
sorted names, which are sorted again only when they have changed; names below a common prefix are skipped. moto would
also look up each field of each object in its model of the service, and parse the time that it has just written, which
takes most of a millisecond for each object. So moto answers ListObjectsV2 without the objects, which are added here
(`shown`).
"""

import itertools
import re
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from operator import itemgetter
from typing import Any
from xml.sax.saxutils import escape

from moto.s3.models import FakeBucket, FakeDeleteMarker, FakeKey, S3Backend

_of_moto_v1, _of_moto_v2 = S3Backend.list_objects, S3Backend.list_objects_v2
OWNER = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a"  # moto's owner of every object
KEY_COUNT, END = re.compile(rb"<KeyCount>(\d+)</KeyCount>"), b"</ListBucketResult>"


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
    """Returns what moto's method returns: objects and common prefixes, whether there are more, and a token."""
    if type(bucket) is not FakeBucket:
        return _of_moto_v2(self, bucket, prefix, delimiter, continuation_token, start_after, max_keys)
    after = self._pagination_tokens.get(continuation_token) if continuation_token else start_after
    page, cut, token = _page(self, bucket, prefix, delimiter, after, max_keys)
    if _passing.held_back:
        _passing.page = [entry for entry in page if isinstance(entry, FakeKey)]
        page = [entry for entry in page if not isinstance(entry, FakeKey)]
    return page, cut, token


def list_objects(
    self: S3Backend,
    bucket: FakeBucket,
    prefix: str | None,
    delimiter: str | None,
    marker: str | None,
    max_keys: int,
) -> tuple[Any, Any, bool, str | None]:
    """Returns what moto's method returns: objects, common prefixes, whether there are more, and a marker."""
    if type(bucket) is not FakeBucket:
        return _of_moto_v1(self, bucket, prefix, delimiter, marker, max_keys)
    after = self._pagination_tokens.get(marker, marker) if marker else None
    page, cut, token = _page(self, bucket, prefix, delimiter, after, max_keys)
    keys = [entry for entry in page if isinstance(entry, FakeKey)]
    return keys, [entry for entry in page if not isinstance(entry, FakeKey)], cut, token


def _page(
    s3: S3Backend,
    bucket: FakeBucket,
    prefix: str | None,
    delimiter: str | None,
    after: str | None,
    max_keys: int,
) -> tuple[list[FakeKey | str], bool, str | None]:
    """Returns the first entries after the name `after`, whether there are more, and a token for those."""
    entries = _entries(bucket, prefix or "", delimiter, after or "")
    page: tuple[list[FakeKey | str], bool, str | None] = s3._truncate_result(
        list(itertools.islice(entries, max_keys + 1)), max_keys
    )
    return page


def _entries(bucket: FakeBucket, prefix: str, delimiter: str | None, after: str) -> Iterator[FakeKey | str]:
    """Yields the objects and, in their place, the common prefixes that come after `after`."""
    names = _sorted.names(bucket.keys)
    place = max(bisect_left(names, prefix), bisect_right(names, after))
    while place < len(names) and (name := names[place]).startswith(prefix):
        place += 1
        key = bucket.keys.get(name)
        if key is None or isinstance(key, FakeDeleteMarker):
            continue
        end = name.find(delimiter, len(prefix)) if delimiter else -1
        if end < 0 or delimiter is None:
            yield key
            continue
        common = name[: end + len(delimiter)]
        if common > after:
            yield common
        place = bisect_right(names, common, place, key=itemgetter(slice(len(common))))


@contextmanager
def held_back() -> Iterator[Callable[[], list[FakeKey] | None]]:
    """Hides the objects of a page from moto in this block, in this thread; common prefixes stay. The yielded function
    returns the hidden objects; None if moto has them."""
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
    head, counted = KEY_COUNT.subn(
        lambda found: b"<KeyCount>%d</KeyCount>" % (int(found[1]) + len(page)), body.rstrip()
    )
    if counted != 1 or not head.endswith(END):
        raise ValueError("moto has answered a listing in an unknown form")
    contents = "".join(_entry(key, encoding, owner, restored) for key in page).encode()
    return head[: -len(END)] + contents + END


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
    """Replaces moto's listings, within this context."""
    S3Backend.list_objects, S3Backend.list_objects_v2 = list_objects, list_objects_v2  # type: ignore
    try:
        yield
    finally:
        S3Backend.list_objects, S3Backend.list_objects_v2 = _of_moto_v1, _of_moto_v2  # type: ignore
