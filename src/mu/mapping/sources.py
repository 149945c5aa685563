"""Inputs that are files or objects, and the base of all sources (see also `rows`). All are read when they are
needed."""

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mu import aws
from mu.errors import MuError, UsageError, reason
from mu.mapping import globs
from mu.mapping.inputs import Input, bucket_and_key, check_written, is_directory_bucket, is_s3
from mu.mapping.paths import Paths
from mu.preflight import check_bucket

ANY = re.compile(r"[*?]")
LONGEST_INPUT = 1 << 20  # characters of an input's text
FROZEN = ("GLACIER", "DEEP_ARCHIVE")  # storage classes whose objects must be restored before they can be read


class Found(NamedTuple):
    """An input that a source has found, before it gets its number."""

    text: str
    fields: dict[str, str] | None = None
    size: int | None = None
    version: str = ""
    refused: str = ""


class Source:
    """The inputs of a map; it is iterable.

    `description` is shown in messages. `again` tells whether it can be iterated twice, with the same inputs;
    `columns` are the names of a row's fields, None if the inputs are not rows; `holds(names)` tells whether a file or
    object of these names would be an input; `files` whether an input's text may name a file, which a command with `{}`
    then reads. `skipped` counts what the last iteration skipped, by kind. `rest` is how many more inputs there are to
    do if it has only the first ones of a map.
    """

    rest = 0

    def __init__(
        self,
        description: str,
        find: Callable[["Source"], Iterator[Found]],
        *,
        again: bool,
        columns: Sequence[str] | None = None,
        holds: Callable[[Iterable[str]], bool] = lambda _: False,
        files: bool = True,
        check: Callable[["Source"], None] = lambda _: None,
    ) -> None:
        self.description = description
        self.again = again
        self.columns = columns
        self.holds = holds
        self.files = files
        self.skipped: dict[str, int] = {}
        self._find = find
        self._check = check

    def check(self) -> None:
        """Raises UsageError if one of the names and patterns that were given has no input."""
        self._check(self)

    def __iter__(self) -> Iterator[Input]:
        """Yields the inputs. Raises UsageError if they cannot be read, or one is too long."""
        self.skipped = {}
        return itertools.starmap(_numbered, enumerate(self._find(self), 1))

    def skip(self, what: str) -> None:
        """Counts an item that was skipped."""
        self.skipped[what] = self.skipped.get(what, 0) + 1


def _numbered(number: int, found: Found) -> Input:
    if len(found.text) > LONGEST_INPUT:
        raise UsageError(f"input {number} has more than {LONGEST_INPUT:,} characters")
    return Input(number, *found)


# Files and objects


def patterns(given: Sequence[str], region: str | None = None) -> Source:
    """Returns inputs from globs, prefixes and names, on this machine (`photos/*.jpg`, `photos/`) or in S3
    (`s3://b/raw/**.png`). Raises UsageError."""
    if not all(given):
        raise UsageError("an input is an empty word: is a shell variable not set?")
    for each in given:
        check_written(each, f"input {each}")
        if is_s3(each):
            bucket = bucket_and_key(each)[0]
            if not bucket:
                raise UsageError(f"'{each}' has no bucket: write s3://BUCKET/KEY")
            check_bucket(bucket, f"input {each}: ")

    def found(source: Source, each: str) -> Iterator[Found]:
        return _objects(source, each, region) if is_s3(each) else _files(source, each, alone=len(given) == 1)

    def find(source: Source) -> Iterator[Found]:
        for each in given:
            yield from found(source, each)

    def check(source: Source) -> None:
        for each in given:
            if is_s3(each) and len(given) == 1:
                continue  # the start notices that there is no first input, without another listing
            source.skipped = {}
            if next(found(source, each), None) is None:
                raise no_input(each, source.skipped, "" if is_s3(each) else _absent(each))

    return Source(
        " ".join(given),
        find,
        again=not any(map(is_s3, given)),
        holds=_holds(given),
        check=check,
    )


def no_input(description: str, skipped: Mapping[str, int], why: str = "") -> UsageError:
    """Returns the error for a source, or one of its names and patterns, that has no input, but what was skipped."""
    passed = ", ".join(itertools.starmap(counted, skipped.items()))
    told = f": {why}" if why else f" has only {passed}" if passed else " has none"
    return UsageError(f"there is no input: {description}{told} (--allow-empty makes that a success)")


def counted(what: str, count: int) -> str:
    """Returns a number of skipped items with their kind, such as `3 empty lines` or `1 directory (permission
    denied)`."""
    if count == 1:
        what = re.sub(r"(\w+?)(ies|s)\b", lambda found: found[1] + "y" * (found[2] == "ies"), what, count=1)
    return f"{count:,} {what}"


def _holds(given: Sequence[str]) -> Callable[[Iterable[str]], bool]:
    """Returns a function that tells whether a file or object of these names would be an input of the patterns,
    prefixes and names that were given."""
    paths = Paths()
    fixed: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    for each in given:
        if globs.MAGIC.search(each):
            patterns += [globs.matcher(form, hidden=is_s3(each)) for form in _forms(each, paths)]
        else:
            fixed.update(name.rstrip("/") for name in paths.names(each))

    def holds(names: Iterable[str]) -> bool:
        return any(
            f"/{globs.OWN}/" not in f"/{name}"
            and (not fixed.isdisjoint(_above(name)) or any(pattern.fullmatch(name) for pattern in patterns))
            for name in names
        )

    return holds


def _forms(pattern: str, paths: Paths) -> set[str]:
    """Returns a pattern in absolute form, as it is written and without links to directories in the part before the
    first wildcard, which is normalized (`./a/../b`)."""
    if is_s3(pattern):
        return {pattern}
    directory, slash, _ = globs.literal_prefix(pattern).rpartition("/")
    rest = pattern[len(directory + slash) :]
    return {f"{name.rstrip('/')}/{rest}" for name in paths.names(f"{directory}{slash}.")}


def _above(place: str) -> Iterator[str]:
    """Yields a place and all directories, or prefixes in its bucket, that it is in; the system's root is empty."""
    yield place
    while (above := place.rpartition("/")[0]) not in (place, "s3:/"):
        yield above
        place = above


def _files(source: Source, pattern: str, *, alone: bool) -> Iterator[Found]:
    """Yields the files of a pattern, a directory or a name.

    The name of a file may contain wildcards. Among several inputs it is that file, since a shell has made a list of
    its pattern. Alone, one with `*` or `?` is a pattern, which also matches that file.
    """
    if os.path.isfile(pattern) and not (alone and ANY.search(pattern)):  # noqa: PTH113 - a text
        return iter([of_file(pattern)])
    entries: Iterable[os.DirEntry[str]] = ()
    if os.path.isdir(pattern):  # noqa: PTH112
        entries = globs.below(f"{pattern.rstrip('/')}/", source.skip)
    elif globs.MAGIC.search(pattern):
        entries = globs.local(pattern, source.skip)
    else:
        source.skip(f"names ({_absent(pattern)})")
    return (found for entry in entries if (found := _entry(entry)))


def _absent(name: str) -> str:
    """Returns why a name of this machine is no input; empty for a directory or a pattern."""
    if globs.MAGIC.search(name):
        return ""
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116
    except (OSError, ValueError) as error:
        return reason(error)
    return "" if stat.S_ISDIR(mode) else "neither a file nor a directory"


def _entry(entry: "os.DirEntry[str]") -> Found | None:
    try:
        status = entry.stat()
    except OSError:  # it was removed in the meantime
        return None
    return Found(entry.path, None, status.st_size, version_of(status))


def of_file(path: str) -> Found:
    """Returns the input for a file of this machine, which may be missing. A directory has no version: each file that is
    written into it, such as an output, gives it another time."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        return Found(path, None, None, "", f"cannot be read: {reason(error)}")
    version = "" if stat.S_ISDIR(status.st_mode) else version_of(status)
    return Found(path, None, status.st_size, version)


def version_of(status: os.stat_result) -> str:
    """Returns a text that changes when a file of this machine does."""
    return f"{status.st_mtime_ns}-{status.st_size}"


def _objects(source: Source, pattern: str, region: str | None) -> Iterator[Found]:
    bucket, wanted = bucket_and_key(pattern)
    magic = bool(globs.MAGIC.search(wanted))
    whole = globs.matcher(wanted, hidden=True) if magic else None
    client = aws.client("s3", bucket_region(bucket, region))
    pages = client.get_paginator("list_objects_v2").paginate(**_listing(bucket, globs.literal_prefix(wanted)))
    with aws.explained(f"cannot list {pattern}"):
        for page in pages:
            for found in page.get("Contents", ()):
                key = found["Key"]
                if whole is not None and not whole.fullmatch(key):
                    continue
                if (
                    whole is None
                    and wanted
                    and not (key == wanted or key.startswith(f"{wanted.rstrip('/')}/"))
                ):
                    continue
                if key.endswith("/"):
                    source.skip("folder markers")
                elif f"/{globs.OWN}/" not in f"/{key}":
                    yield _object(bucket, found)


def _listing(bucket: str, prefix: str) -> dict[str, Any]:
    """Returns the arguments of a listing of at least the keys that begin with `prefix`."""
    if is_directory_bucket(bucket):  # it lists only directories, and its objects are never archived
        return {"Bucket": bucket, "Prefix": prefix[: prefix.rfind("/") + 1]}
    return {"Bucket": bucket, "Prefix": prefix, "OptionalObjectAttributes": ["RestoreStatus"]}


def _object(bucket: str, found: dict[str, Any]) -> Found:
    version = found["ETag"].strip('"')
    return Found(f"s3://{bucket}/{found['Key']}", None, found["Size"], version, _frozen(found))


def _frozen(found: dict[str, Any]) -> str:
    """Returns why an object of a listing cannot be read yet; empty if it can. A restored object keeps its storage
    class. Other S3 servers do not tell the state of a restoration."""
    kind, state = found.get("StorageClass"), found.get("RestoreStatus") or {}
    if kind not in FROZEN or state.get("RestoreExpiryDate"):
        return ""
    if state.get("IsRestoreInProgress"):
        return f"it is in storage class {kind}, and is being restored: try again later"
    return f"it is in storage class {kind}: restore it first"


_REGIONS: dict[str, str] = {}


def bucket_region(bucket: str, fallback: str | None = None) -> str:
    """Returns a bucket's region, which is asked for once; if we may not ask, or it is a directory bucket, which cannot
    be asked, `fallback` or the default region. Raises UsageError or MuError."""
    default = fallback or aws.default_region()
    if is_directory_bucket(bucket):
        return default
    if bucket not in _REGIONS:
        check_bucket(bucket)
        client = aws.client("s3", default)
        try:
            found = client.get_bucket_location(Bucket=bucket).get("LocationConstraint")
        except aws.ERRORS as error:
            if aws.code(error) == "NoSuchBucket":
                raise UsageError(f"there is no bucket {bucket}") from None
            if not aws.undecided(error):
                raise MuError(f"cannot look at bucket {bucket}: {aws.failure(error)}") from None
            _REGIONS[bucket] = default
            return default
        _REGIONS[bucket] = "eu-west-1" if found == "EU" else found or "us-east-1"
    return _REGIONS[bucket]
