"""Opens the journal of a run, and reads those of earlier ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mu.mapping import words
from mu.mapping.book import Journal
from mu.mapping.fingerprints import Values, fingerprint
from mu.mapping.globs import OWN
from mu.mapping.inputs import bucket_and_key, is_s3
from mu.mapping.journal import FileJournal, ObjectJournal, Row, read
from mu.mapping.objects import Objects
from mu.mapping.outputs import OutputTemplate
from mu.mapping.past import CLOCKS, Past
from mu.mapping.results import RESULTS, Results
from mu.mapping.settings import Given

JOURNAL = "journal.jsonl"
# The clock that objects get their times from has whole seconds, and several servers have it.
ONE_CLOCK = 1.0


def opened(
    given: Given, templates: Sequence[OutputTemplate], objects: Objects, run: str, *, again: bool
) -> tuple[Journal | None, Results | None]:
    """Opens the journal of `run`, and the directory of results if it is there. With `again`, existing results are
    added to. Raises UsageError."""
    if given.results:
        results = Results(Path(given.results), resume=given.resume or again)
        return results.journal, results
    if not templates:
        return None, None
    base = templates[0].base
    if is_s3(base):
        bucket, prefix = _in_bucket(base)
        return ObjectJournal(objects.putter(bucket, prefix), run), None
    # Other runs may write other outputs into the same directory, but only one may go on.
    return FileJournal(_beside(base), resume=True, alone=given.resume), None


def past(given: Given, templates: Sequence[OutputTemplate], names: set[str], objects: Objects) -> Past:
    """Returns what earlier runs have done; `names` are the fields of the command. Raises UsageError or MuError."""
    written = Written(objects, templates)
    if given.results:
        rows: Iterator[Row] = read(Path(given.results) / RESULTS)
        return Past(rows, numbered=True, positions=_has_number(templates, names), written=written)
    base = templates[0].base
    if is_s3(base):
        return Past(objects.rows(*_in_bucket(base)), written=written, tolerance=ONE_CLOCK)
    return Past(read(_beside(base)), written=written, tolerance=CLOCKS)


def _has_number(templates: Sequence[OutputTemplate], names: set[str]) -> bool:
    return words.NUMBER in names.union(*(words.fields_of(each.pieces) for each in templates))


def _in_bucket(base: str) -> tuple[str, str]:
    bucket, prefix = bucket_and_key(base)
    return bucket, f"{prefix}{OWN}/journal/"


def _beside(base: str) -> Path:
    return Path(base or ".") / OWN / JOURNAL


class Written:
    """Tells when an object was written (seconds since the epoch), 0 if there is none. Those below the outputs'
    templates are listed once."""

    def __init__(self, objects: Objects, templates: Sequence[OutputTemplate]) -> None:
        self._times = Values()
        for base in {each.base for each in templates if is_s3(each.base)}:
            bucket, prefix = bucket_and_key(base)
            for key, time in objects.listed(bucket, prefix):
                self._times.put(fingerprint(f"s3://{bucket}/{key}"), max(1, int(time)))

    def __call__(self, place: str) -> float:
        return self._times.count(fingerprint(place))
