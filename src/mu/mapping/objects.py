"""Access to a map's objects in S3: its journal in a bucket, and listings of existing outputs."""

from collections.abc import Callable, Iterator
from typing import Any

from mu import aws
from mu.mapping.journal import Row, rows_of
from mu.mapping.sources import bucket_region


class Objects:
    """Access to buckets, each with a client of the bucket's region. All methods raise MuError."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}

    def client(self, bucket: str) -> Any:
        """Returns the client for a bucket."""
        if bucket not in self._clients:
            self._clients[bucket] = aws.client("s3", bucket_region(bucket))
        return self._clients[bucket]

    def listed(self, bucket: str, prefix: str) -> Iterator[tuple[str, float]]:
        """Yields all keys that begin with `prefix`, with the times (seconds since the epoch) when they were written.
        They are fetched in pages."""
        with aws.explained(f"cannot list s3://{bucket}/{prefix}"):
            pages = (
                self.client(bucket).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            )
            for page in pages:
                for found in page.get("Contents", ()):
                    yield found["Key"], found["LastModified"].timestamp()

    def rows(self, bucket: str, prefix: str) -> Iterator[Row]:
        """Yields the rows of the journals below `prefix`, the oldest first. Their `time` is that of their object, by
        the clock that all objects have."""
        for time, key in sorted((time, key) for key, time in self.listed(bucket, prefix)):
            with aws.explained(f"cannot read s3://{bucket}/{key}"):
                body = self.client(bucket).get_object(Bucket=bucket, Key=key)["Body"].read()
            for row in rows_of(body.splitlines()):
                yield {**row, "time": time}

    def putter(self, bucket: str, prefix: str) -> Callable[[str, bytes], None]:
        """Returns a function that writes an object named `prefix` + name."""

        def put(name: str, data: bytes) -> None:
            with aws.explained(f"cannot write s3://{bucket}/{prefix}{name}"):
                self.client(bucket).put_object(Bucket=bucket, Key=f"{prefix}{name}", Body=data)

        return put
