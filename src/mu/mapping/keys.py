"""`mu.objects`: the keys of objects in S3, as inputs of a job."""

from collections.abc import Iterator

from mu.errors import UsageError
from mu.mapping.inputs import bucket_and_key, is_s3
from mu.mapping.sources import patterns


def objects(*wanted: str, region: str | None = None) -> Iterator[str]:
    """The keys that patterns name: `s3://BUCKET/frames/*.png`, where `*` stays within one folder and `**` crosses them,
    or `s3://BUCKET/frames/` for all below.

    They are listed as they are read, a thousand at a time, so that workers begin before a long listing has ended.
    `region`: the bucket's, if it cannot be asked for. UsageError if a pattern is none, or if nothing matches.
    """
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
