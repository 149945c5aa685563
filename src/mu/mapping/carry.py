"""Moves files that are too large for the channel between this machine and workers elsewhere, through a bucket.

The objects are below `.mu/carry/RUN/` in the bucket of `--bucket`. An input's objects are removed when it is over,
and all remaining ones when the run is. A later run removes what a killed run has left, or a worker has uploaded after
the end of its run. Transfers run in threads.
"""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

from mu import aws
from mu.console.files import replacing
from mu.errors import MuError, UsageError, reason
from mu.mapping.globs import OWN
from mu.mapping.plan import SMALL, Plan, Refused, Transfer

logger = logging.getLogger(__name__)

THREADS = 8
ALL = f"{OWN}/carry/"
# Seconds. Objects are used within minutes of being written, so older ones are left from runs that are over.
ABANDONED = 86400.0


class Carrier:
    """Moves a run's large files. With `bucket` None there is no bucket, and large inputs are refused."""

    def __init__(self, bucket: str | None, region: str, run: str) -> None:
        self.bucket = bucket
        self._region = region
        self._prefix = f"{ALL}{run}/"
        self._threads: ThreadPoolExecutor | None = None
        self._client: Any = None
        self._used = False
        self._numbers = count()
        self._removing: list[Future[None]] = []

    def send(self, made: Plan, mine: str) -> "Future[None] | None":
        """Removes the large files from `made.send` and starts to upload them; the plan then fetches them from the
        bucket.

        Returns None if there are none. Raises Refused if one cannot be read, or there is no bucket.
        """
        large = [(source, file) for source, file in made.send if self._size(source) > SMALL]
        if not large:
            return None
        if self.bucket is None:
            raise Refused(
                f"{large[0][0]} has {self._size(large[0][0]):,} bytes, and files of more than {SMALL:,} need a bucket:"
                " give --bucket"
            )
        # Of an attempt that its worker has not begun there may be another one of the same number, while the first
        # one's objects are being removed. So no two have a key in common.
        keys = [f"{self._prefix}{mine}-in-{next(self._numbers)}" for _ in large]
        made.send = [pair for pair in made.send if pair not in large]
        made.fetch += [Transfer(file, self.bucket, key) for (_, file), key in zip(large, keys, strict=True)]
        return self._start(self._upload, [source for source, _ in large], keys)

    def bring_by_bucket(
        self, made: Plan, mine: str, sizes: Sequence[int] | None = None
    ) -> list[tuple[Transfer, str]]:
        """Removes the large outputs from `made.bring`, or all if `sizes` are not known, and returns them.

        The worker will upload them, and `fetch` brings them here. Returns nothing if there is no bucket.
        """
        if self.bucket is None:
            return []
        carried, kept = [], []
        for number, (file, place) in enumerate(made.bring):
            if sizes is not None and sizes[number] <= SMALL:
                kept.append((file, place))
            else:
                self._used = True
                carried.append((Transfer(file, self.bucket, f"{self._prefix}{mine}-out-{number}"), place))
        made.bring = kept
        return carried

    def fetch(self, carried: Sequence[tuple[Transfer, str]]) -> "Future[int]":
        """Starts to move outputs from the bucket to their places here; the result is their bytes."""
        return self._start(self._download, carried)

    def forget(self, made: Plan, carried: Sequence[tuple[Transfer, str]]) -> None:
        """Removes an attempt's objects from the bucket."""
        keys = [move.key for move in made.fetch if move.key.startswith(self._prefix)]
        keys += [move.key for move, _ in carried]
        if keys:
            self._removing = [each for each in self._removing if not each.done()]
            self._removing.append(self._start(self._remove, keys))

    def close(self) -> None:
        """Removes all objects of this run from the bucket, and those that others have abandoned; ends the threads.
        Raises MuError."""
        if self._threads is None and not self._used:
            return
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
        try:
            pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=ALL)
            old = time.time() - ABANDONED
            self._remove(
                [
                    each["Key"]
                    for page in pages
                    for each in page.get("Contents", ())
                    if each["Key"].startswith(self._prefix) or each["LastModified"].timestamp() < old
                ]
            )
        except (MuError, *aws.ERRORS) as error:
            raise MuError(f"cannot remove s3://{self.bucket}/{self._prefix}: {reason(error)}") from None

    def _start(self, call: Any, *arguments: Any) -> "Future[Any]":
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "carry")
        self._used = True
        return self._threads.submit(call, *arguments)

    def _s3(self) -> Any:
        if self._client is None:
            self._client = aws.client("s3", self._region)
        return self._client

    @staticmethod
    def _size(source: str) -> int:
        try:
            return Path(source).stat().st_size
        except (OSError, ValueError) as error:
            raise Refused(f"cannot read {source}: {reason(error)}") from None

    def _upload(self, sources: Sequence[str], keys: Sequence[str]) -> None:
        for source, key in zip(sources, keys, strict=True):
            try:
                self._s3().upload_file(source, self.bucket, key)
            except OSError as error:
                raise Refused(f"cannot read {source}: {reason(error)}") from None

    def _download(self, carried: Sequence[tuple[Transfer, str]]) -> int:
        size = 0
        for move, place in carried:
            target = Path(place)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target, follow=False) as file:
                    self._s3().download_fileobj(move.bucket, move.key, file)
                    size += file.tell()
            except OSError as error:
                raise Refused(f"cannot write {place}: {reason(error)}") from None
        return size

    def _remove(self, keys: Sequence[str]) -> None:
        for begin in range(0, len(keys), 1000):
            objects = [{"Key": key} for key in keys[begin : begin + 1000]]
            try:
                self._s3().delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
            except (MuError, *aws.ERRORS) as error:
                logger.debug("removing carried files: %s", reason(error))


def failure_of(error: BaseException) -> str:
    """Returns in one line why a file could not be moved."""
    if isinstance(error, aws.ERRORS):
        return aws.failure(error)
    return reason(error)


def check(bucket: str | None) -> None:
    """Raises UsageError if `bucket` is given and is empty or another kind of store."""
    if bucket is not None and (not bucket or bucket.startswith(("file:", "s3+"))):
        raise UsageError(f"--bucket: '{bucket}' is not a valid bucket name")
