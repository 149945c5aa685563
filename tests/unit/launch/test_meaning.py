"""The table of transient errors agrees with AWS's list of Invoke's errors in botocore."""

import botocore
import pytest
from botocore.session import Session
from mu.launch._liblaunch import ffi, lib

MADE_FROM = (1, 44, 8)  # the version of botocore from whose list the table was made

MEANINGS = {
    lib.MU_MEANING_PASSES: "passes",
    lib.MU_MEANING_SETTLES: "settles",
    lib.MU_MEANING_OWN: "own",
    lib.MU_MEANING_FINAL: "final",
}


def table() -> dict[str, int]:
    """Returns the HTTP status of each error name."""
    found, status, name = {}, ffi.new("int *"), ffi.new("char **")
    while lib.mu_meaning_entry(len(found), status, name) >= 0:
        found[ffi.string(name[0]).decode()] = status[0]
    return found


def meaning(status: int, name: str = "") -> str:
    return MEANINGS[lib.mu_meaning_of(status, name.encode())]


def test_all_errors_of_the_reference_are_in_the_table_with_their_status() -> None:
    model = Session().get_service_model("lambda").operation_model("Invoke")
    listed = {shape.name: shape.metadata["error"]["httpStatusCode"] for shape in model.error_shapes}
    assert len(listed) > 30
    ours = table()
    assert {name: ours[name] for name in listed if name in ours} == {
        name: status for name, status in listed.items() if name in ours
    }
    version = tuple(int(number) for number in botocore.__version__.split("."))
    if version <= MADE_FROM:
        assert set(listed) <= set(ours)
    if version == MADE_FROM:
        assert set(listed) == set(ours)


@pytest.mark.parametrize(
    ("status", "name", "expected"),
    [
        (409, "ResourceConflictException", "settles"),
        (409, "SnapStartNotReadyException", "settles"),
        (502, "ENILimitReachedException", "settles"),
        (502, "EC2ThrottledException", "passes"),
        (408, "EFSMountTimeoutException", "passes"),
        (410, "EFSIOException", "passes"),
        (429, "TooManyRequestsException", "passes"),
        (502, "InvalidZipFileException", "final"),
        (409, "RuntimeVersionDeletedException", "final"),
        (409, "DurableExecutionAlreadyStartedException", "own"),
        # Unknown error names, and answers without a name.
        (404, "", "final"),
        (403, "AccessDeniedException", "final"),
        (503, "SlowDown", "passes"),
        (502, "", "passes"),
        (409, "", "own"),
        (301, "ResourceConflictException", "own"),
    ],
)
def test_meanings(status: int, name: str, expected: str) -> None:
    assert meaning(status, name) == expected
