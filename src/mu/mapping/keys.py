"""`mu.objects`: lists keys of objects in S3, as inputs of a job."""

from collections.abc import Iterator

from mu.errors import UsageError
from mu.mapping.inputs import bucket_and_key, is_s3
from mu.mapping.sources import patterns


def objects(*wanted: str, region: str | None = None) -> Iterator[str]:
    """Yields the keys that match patterns: `s3://BUCKET/frames/*.png`, where `*` stays within one folder and `**`
    also matches `/`, or `s3://BUCKET/frames/` for all below.

    Keys are listed while they are read, a thousand at a time, so that workers can begin before a long listing has
    ended. `region` is the bucket's region, if we may not ask for it. Raises UsageError if a pattern is not one,
    there is none, or nothing matches.
    """
    if not wanted:
        raise UsageError("mu.objects needs a pattern, such as s3://BUCKET/frames/*.png")
    for pattern in wanted:
        if not is_s3(pattern):
            raise UsageError(f"mu.objects lists S3: s3://BUCKET/PATTERN, not '{pattern}'")
    return _keys(wanted, region)


def _keys(wanted: tuple[str, ...], region: str | None) -> Iterator[str]:
    found = False
    for each in patterns(wanted, region):
        found = True
        yield bucket_and_key(each.text)[1]
    if not found:
        raise UsageError(f"no object matches {' '.join(wanted)}")
