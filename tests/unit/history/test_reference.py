"""docs/record.md is generated from the structs, and has each field with its type and meaning."""

import re
from pathlib import Path

from mu.history import reference, schema

DOCS = Path(__file__).parents[3] / "docs"
STRUCTS = [
    schema.Record, schema.About, schema.Versions, schema.Launch, schema.Cost, schema.Part, schema.Attempt, schema.Error,
]  # fmt: skip


def rows(heading: str) -> dict[str, tuple[str, str]]:
    """Returns the type and the meaning of each field in one section."""
    section = reference.page().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section, re.MULTILINE)
    return {name: (kind, meaning) for name, kind, meaning in found}


def test_the_page_is_current() -> None:
    assert (DOCS / "record.md").read_text() == reference.page(), (
        "python -m mu.history.reference > docs/record.md"
    )


def test_each_field_of_each_struct_has_a_row_in_the_order_of_the_file() -> None:
    assert re.findall(r"^## (\w+)$", reference.page(), re.MULTILINE) == [of.__name__ for of in STRUCTS]
    for of in STRUCTS:
        assert tuple(rows(of.__name__)) == of.__struct_fields__


def test_types_are_in_words_and_lead_to_the_forms_that_they_name() -> None:
    attempt, record = rows("Attempt"), rows("Record")
    assert attempt["finished"][0] == "number or null"
    assert attempt["states"][0] == "list of [number, string]"
    assert attempt["moved"][0] == "object of integer (optional)"
    assert attempt["error"][0] == "[Error](#error) (optional)"
    assert record["schema"][0] == "`1`"
    assert record["versions"] == ("[Versions](#versions)", "What the run was made with.")
    assert record["parts"] == (
        "list of [Part](#part)",
        "One for each part wanted, unless `more_parts` is true.",
    )
