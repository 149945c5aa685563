"""The schema of run.json: the published one agrees with the structs, and records can be read as they were written."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mu.errors import UsageError
from mu.history import record, schema
from mu.launch.result import Invocation, Progress
from mu.report.cost import Function, estimate
from tests.support.made_runs import record as made_record

DOCS = Path(__file__).parents[3] / "docs"
STRUCTS = [
    schema.Record, schema.About, schema.Versions, schema.Launch, schema.Part, schema.Attempt, schema.Error, schema.Cost,
]  # fmt: skip


def read(made: Any) -> schema.Record:
    return schema.read(json.dumps(made).encode(), "run.json")


def refused(made: Any) -> str:
    with pytest.raises(UsageError) as raised:
        read(made)
    return str(raised.value)


def test_the_published_schema_is_that_of_the_structs() -> None:
    assert (DOCS / "run.schema.json").read_text() == schema.json_schema(), (
        "python -m mu.history.schema > docs/run.schema.json"
    )


def test_every_field_of_the_published_schema_is_described_and_none_is_closed() -> None:
    """The published schema permits unknown fields, which newer versions may add; mu ignores them, too."""
    forms = json.loads(schema.json_schema())["$defs"]
    assert set(forms) == {of.__name__ for of in STRUCTS}
    for form in forms.values():
        assert form["description"]
        assert "additionalProperties" not in form
        for name, field in form["properties"].items():
            assert "description" in field or "$ref" in field, name


def test_what_is_written_is_read_and_unknown_fields_pass() -> None:
    made = made_record(20, failing=0.3)
    made["new"] = made["run"]["new"] = made["parts"][0]["attempts"][0]["new"] = [{"x": None}]
    found = read(made)
    again = schema.read(msgspec.json.encode(found), "x")
    assert again == found
    assert [part.part for part in again.parts] == list(range(20))
    assert any(part.attempts[0].error for part in again.parts)


def test_all_that_launching_and_cost_say_is_in_the_form() -> None:
    progress = Progress(2, 0, 0, 0, 1, 1, 0, 4, 2, 2, 2.0)
    invocations = [
        Invocation(0, "us-east-1", "failed", 429, "id", 3, 1.5, "throttled"),
        Invocation(1, "us-east-1", "accepted", None, "", 1, 0.5, None),
    ]
    launch = record.launch_outcomes(progress, invocations, [], [(101.0, 1)], 100.0, "no more")
    cost = estimate(Function(1024, "arm64"), 10.0, 3, ["us-east-1", "eu-west-1"], starts=3)
    for form, data in ((schema.Launch, launch), (schema.Cost, cost)):
        told = json.loads(msgspec.json.encode(record.as_form(form, data, str)))
        assert told == json.loads(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda made: made["parts"][3]["attempts"][0].update(finished="2"),
         "run.json: $.parts[3].attempts[0].finished: expected float | null, got str"),
        (lambda made: made["parts"][1].pop("outcome"), "run.json: $.parts[1]: object missing required field outcome"),
        (lambda made: made["parts"][2].update(outcome="lost"),
         "run.json: $.parts[2].outcome: invalid enum value 'lost'"),
        (lambda made: made["run"].update(script=None), "run.json: $.run.script: expected str, got null"),
        (lambda made: made.update(schema=2), "run.json: a record of schema 2; this version of mu reads 1"),
        (lambda made: made.pop("schema"), "run.json: $: object missing required field schema"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_path(change: Any, why: str) -> None:
    made = made_record(4)
    change(made)
    assert refused(made) == why


def test_an_old_record_without_what_came_later_is_read() -> None:
    """A file as the first version of mu wrote it: without worker, moved and cost, and with a setting without an end."""
    old = """{"schema":1,"run":{"script":"a.py","started":"2026-01-02T03:04:05.678+00:00","seconds":2,"ended":""},
        "versions":{"mu":"0.1.0","python":"3.11.2","system":"Linux x86_64"},"settings":{"kill_time":Infinity},
        "launch":null,"strangers":0,"parts":[
        {"part":0,"outcome":"done","attempts":[{"attempt":1,"address":"192.0.2.7","connected":0.5,"finished":1,
        "outcome":"done","states":[[0.5,"A"],[1,"B"]]}]}]}"""
    (part,) = schema.read(old.encode(), "run.json").parts
    assert part.attempts[0].states == [(0.5, "A"), (1.0, "B")]
    assert part.attempts[0].worker == 0
    assert not part.attempts[0].runs


def test_what_a_worker_says_cannot_make_a_record_unreadable() -> None:
    assert record.readable(10**18) == schema.LARGEST
    assert record.readable(-(10**18)) == -schema.LARGEST
