"""A map's own objects: its journal in a bucket, and the listing of what is there."""

from collections.abc import Callable, Iterator
from typing import Any

from mu import aws
from mu.mapping.journal import Row, rows_of
from mu.mapping.sources import bucket_region


class Objects:
    """Access to buckets, each by a client of its own region. MuError from all that fails."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    def client(self, bucket: str) -> Any:
        """The client for a bucket."""
        if bucket not in self._clients:
            self._clients[bucket] = aws.client("s3", bucket_region(bucket))
        return self._clients[bucket]

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`, a page at a time."""
        with aws.explained(f"cannot list s3://{bucket}/{prefix}"):
            pages = (
                self.client(bucket).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"]

    def rows(self, bucket: str, prefix: str) -> Iterator[Row]:
        """The rows of the journals below `prefix`."""
        for key in self.keys(bucket, prefix):
            with aws.explained(f"cannot read s3://{bucket}/{key}"):
                body = self.client(bucket).get_object(Bucket=bucket, Key=key)["Body"].read()
            yield from rows_of(body.splitlines())

    def putter(self, bucket: str, prefix: str) -> Callable[[str, bytes], None]:
        """What writes an object `prefix` + name."""

        def put(name: str, data: bytes) -> None:
            with aws.explained(f"cannot write s3://{bucket}/{prefix}{name}"):
                self.client(bucket).put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=data)

        return put
