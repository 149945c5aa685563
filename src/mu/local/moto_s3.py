"""moto's S3, with S3's own errors where moto would do something else.

moto ignores a sub-resource that it does not know (`?renameObject`) and does what the request would mean without it. It
does not compare an upload's id and key, or the order of its parts, and some mistakes of a caller are exceptions in it.
The conditions of reads (`If-Match` and so on) are evaluated here, in one place for GET, HEAD and the source of a copy.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qs, unquote
from xml.parsers.expat import ExpatError

from moto.core.utils import str_to_rfc_1123_datetime
from moto.s3 import urls
from moto.s3.exceptions import (
    InvalidBucketName,
    InvalidContinuationToken,
    InvalidMaxPartArgument,
    InvalidPartOrder,
    MalformedXML,
    NoSuchUpload,
    NotAnIntegerException,
    PreconditionFailed,
    S3ClientError,
)
from moto.s3.models import FakeKey
from moto.s3.responses import S3Response
from werkzeug.datastructures import Headers

from mu.local.objects import StoredKey

PAGE_SIZE = 1000  # names in a page of a listing, however many are asked for
KEY_SIZE = 1024  # bytes of the longest key
BUCKET = re.compile(r"(?!.*\.\.|\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

# Sub-resources of S3's that moto does not have: of buckets, of objects, and those that it has not with this method.
NOT_DONE = {
    "bucket": {
        "abac",
        "analytics",
        "intelligent-tiering",
        "metadataAnnotationTable",
        "metadataConfiguration",
        "metadataInventoryTable",
        "metadataJournalTable",
        "metadataTable",
        "metrics",
        "requestPayment",
        "session",
    },
    "object": {"annotation", "encryption", "renameObject", "torrent"},
    "GET": {"retention"},
    "DELETE": {"inventory"},
}
NOT_DONE_HEADERS = {"x-amz-write-offset-bytes"}
# A PUT or GET of an object with one of these parameters is not about the object's bytes.
OF_OBJECTS = {"acl", "attributes", "legal-hold", "retention", "tagging"} | NOT_DONE["object"]


class Responses(S3Response):
    """Answers a request."""

    def _bucket_response(self, request: Any, full_url: str) -> Any:
        self.data["Action"] = (
            "ListObjects"  # moto wants any to write an error, and chooses the right one only later
        )
        with _checked(request, "bucket"):
            return super()._bucket_response(request, full_url)

    def _key_response(self, request: Any, full_url: str) -> Any:
        self.data["Action"] = "GetObject"
        with _checked(request, "object"):
            if len(self.parse_key_name().encode()) > KEY_SIZE:
                raise S3ClientError("KeyTooLongError", "Your key is too long")
            if "uploadId" in request.args:
                self._check_upload(request)
            if "x-amz-copy-source" in request.headers:
                self._check_source(request.headers)
            return super()._key_response(request, full_url)

    def _bucket_response_get(self, bucket_name: str, querystring: dict[str, Any]) -> Any:
        if "max-keys" in self.querystring:
            self.querystring["max-keys"] = [str(_page_size(self.querystring["max-keys"][0]))]
        token = self.querystring.get("continuation-token", [None])[0]
        if querystring.get("list-type") == ["2"] and token and token not in self.backend._pagination_tokens:
            raise InvalidContinuationToken
        return super()._bucket_response_get(bucket_name, querystring)

    def _bucket_response_put(self, request: Any, bucket_name: str, querystring: dict[str, Any]) -> Any:
        if not BUCKET.fullmatch(bucket_name) and bucket_name not in self.backend.buckets:
            raise InvalidBucketName
        return super()._bucket_response_put(request, bucket_name, querystring)

    def _check_upload(self, request: Any) -> None:
        """Raises NoSuchUpload unless the upload is this object's; to complete it a second time is no error."""
        upload_id, key = request.args["uploadId"], self.parse_key_name()
        upload = self.backend.get_bucket(self.bucket_name).multiparts.get(upload_id)
        if upload is None and request.method == "POST":
            made = self.backend.get_object(self.bucket_name, key)
            upload = made.multipart if made else None
        if upload is None or (upload.id, upload.key_name) != (upload_id, key):
            raise NoSuchUpload(upload_id)

    def _check_source(self, headers: Mapping[str, str]) -> None:
        """Raises PreconditionFailed if the source of a copy does not meet the conditions."""
        path, _, query = headers["x-amz-copy-source"].partition("?")
        bucket, _, key = unquote(path).lstrip("/").partition("/")
        source = self.backend.get_object(bucket, key, parse_qs(query).get("versionId", [None])[0])
        if source and not_modified(headers, source, "x-amz-copy-source-"):
            raise PreconditionFailed("x-amz-copy-source-If-None-Match")

    def _complete_multipart_body(self, body: bytes) -> Iterator[tuple[int, str]]:
        parts = list(super()._complete_multipart_body(body))
        numbers = [number for number, _ in parts]
        if numbers != sorted(set(numbers)):
            raise InvalidPartOrder
        return iter(parts)

    def get_object(self) -> Any:
        """Like moto's, but always of the whole object: http_api.py chooses the part."""
        self.querystring.pop("partNumber", None)
        return super().get_object()

    def _get_key(self, validate_storage_class: bool = True) -> tuple[FakeKey, bool]:
        given, self.headers = self.headers, _unconditional(self.headers)
        key, _ = super()._get_key(validate_storage_class)
        return key, not_modified(given, key)

    def head_object(
        self, bucket_name: str, query: dict[str, Any], key_name: str, headers: dict[str, Any]
    ) -> Any:
        """Like moto's, with S3's status for a part."""
        version = query.get("versionId", [None])[0]
        key = cast("StoredKey | None", self.backend.get_object(bucket_name, key_name, version))
        number = query.get("partNumber", [None])[0]
        if key and number:
            try:
                begin, end = key.part(number)
            except ValueError:
                return 416, {}, ""
        # An empty object has no range that could be named; of a deleted one, moto would look for the part.
        if not (key and key.contentsize):
            number, query = None, {name: value for name, value in query.items() if name != "partNumber"}
        bare: Any = _unconditional(headers)
        status, answer, body = super().head_object(bucket_name, query, key_name, bare)
        if key is None or status not in (200, 206):
            return status, answer, body
        if not_modified(headers, key):
            return 304, answer, ""
        if number:
            return 206, {**answer, "content-range": f"bytes {begin}-{end - 1}/{key.contentsize}"}, ""
        return status, answer, body


def routes() -> list[tuple[re.Pattern[str], Callable[..., Any]]]:
    """Returns moto's URLs of S3, with the methods of `Responses`."""
    return [
        (re.compile(path.format("")), getattr(Responses, handler.__name__))
        for path, handler in urls.url_paths.items()
    ]


def not_modified(headers: Mapping[str, str], key: FakeKey, prefix: str = "") -> bool:
    """Returns whether the conditions of a read say that the caller has the object already. An ETag's condition counts
    instead of the date's beside it, as in RFC 9110 (13.2.2) and in S3. Raises PreconditionFailed."""
    modified = key.last_modified.replace(microsecond=0)

    def date_of(name: str) -> datetime | None:
        try:
            return str_to_rfc_1123_datetime(headers.get(prefix + name, ""))
        except ValueError:
            return None  # a header that is no date counts as absent (RFC 9110, 13.1.3)

    def is_one_of(tag: str) -> bool:
        return tag == "*" or tag.strip('"') == key.etag.strip('"')

    def check(tag: str, date: str, missing: bool) -> bool:
        if tag_given := headers.get(prefix + tag):
            return is_one_of(tag_given)
        date_given = date_of(date)
        return modified <= date_given if date_given else missing

    if not check("If-Match", "If-Unmodified-Since", missing=True):
        raise PreconditionFailed("If-Match" if headers.get(f"{prefix}If-Match") else "If-Unmodified-Since")
    return check("If-None-Match", "If-Modified-Since", missing=False)


def _unconditional(headers: Any) -> Headers:
    """Returns the headers without the conditions."""
    return Headers([(name, value) for name, value in headers.items() if not name.lower().startswith("if-")])


@contextmanager
def _checked(request: Any, kind: str) -> Iterator[None]:
    """Raises NotImplementedError if moto does not do what is asked of an object or a bucket; what is no XML is the
    caller's mistake."""
    named = request.args.keys() & (NOT_DONE[kind] | NOT_DONE.get(request.method, set()))
    named |= {name for name in NOT_DONE_HEADERS if name in request.headers}
    if named:
        raise NotImplementedError(f"this engine's S3 has no {' or '.join(sorted(named))}")
    try:
        yield
    except ExpatError:
        raise MalformedXML from None


def _page_size(text: str) -> int:
    """Returns how many names a page may have. Raises InvalidArgument, as S3."""
    try:
        number = int(text)
    except ValueError:
        raise NotAnIntegerException("max-keys", text) from None  # type: ignore[arg-type]
    if not 0 <= number < 1 << 31:
        raise InvalidMaxPartArgument("maxKeys", 0, (1 << 31) - 1)
    return min(number, PAGE_SIZE)
