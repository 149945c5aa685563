"""docs/record.md: every field of `run.json`, from its schema. `python -m mu.history.reference > docs/record.md`"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from mu.history import schema

HEAD = """\
# run.json

The record of a run: what was asked for, and what became of each part. `--record DIR` leaves it as `DIR/run.json`,
also if the job fails or is stopped; `mu stats`, `mu timeline` and `mu diagram` read it
([seeing.md](seeing.md#afterwards)). It is one JSON object, so any program can:

<!-- file: outcomes.py -->
```python
import json

with open("run1/run.json") as file:
    record = json.load(file)
for part in record["parts"]:
    last = part["attempts"][-1]
    print(part["part"], part["outcome"], last["name"], [name for _, name in last["states"]])
```

```
$ mu map 'logs/**.log' --record run1 --quiet -k -- wc -l {}
3 logs/app.log
3 logs/old/app.log
$ python3 outcomes.py
1 done logs/app.log ['map', 'run', 'DoneState']
2 done logs/old/app.log ['map', 'run', 'DoneState']
```

All times are seconds since `run.started`, as numbers with microseconds. Those of launching may be negative, because
it begins first.

[run.schema.json](run.schema.json) is the same as below as a JSON schema. New fields may come without a new number in
`schema`, so a reader must let unknown ones pass; a field that changes its meaning or goes away changes the number. mu
refuses a file of another form in one line with the place: `run.json: $.parts[3].attempts[0].finished: expected float
| null, got str`.

Nothing secret is written. Keys are not among the settings, and program output is not kept, but for the end of what
failed programs printed. Known secrets become `***`: the job's keys, the credentials that launch it or are in the
environment, and whatever looks like an access key, a private key, the signature of an address, or credentials by
their names.

A second run in one script leaves `run-2.json`, a third `run-3.json`. While a run goes on, what is over is in
`run.jsonl` ([seeing.md](seeing.md#afterwards)), which a run that is killed leaves behind.

This page is made from the structs that mu reads and writes records with (`src/mu/history/schema.py`) by `python -m
mu.history.reference > docs/record.md`.
"""


def page() -> str:
    """Returns all of docs/record.md."""
    forms = json.loads(schema.json_schema())["$defs"]
    sections = ("\n".join(_section(name, forms)) for name in _in_order("Record", forms))
    return HEAD + "".join(f"\n{section}\n" for section in sections)


def _in_order(name: str, forms: Mapping[str, Any]) -> list[str]:
    """Returns the names of this form and of those in it, in the order of its fields."""
    found = [name]
    for field in forms[name]["properties"].values():
        inner = _reference(field)
        found += _in_order(inner, forms) if inner else []
    return found


def _reference(field: Mapping[str, Any]) -> str:
    """Returns the name of the form that a field, or each of its items, has; empty if it has none."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    inner = [*field.get("anyOf", []), *([field["items"]] if isinstance(field.get("items"), dict) else [])]
    return next(filter(None, map(_reference, inner)), "")


def _section(name: str, forms: Mapping[str, Any]) -> Iterator[str]:
    form = forms[name]
    fields = msgspec.structs.fields(getattr(schema, name))
    optional = {field.name: field.default is msgspec.UNSET for field in fields}
    yield f"## {name}\n"
    yield f"{form['description']}\n"
    yield "| field | type | meaning |"
    yield "| --- | --- | --- |"
    for field, of in form["properties"].items():
        kind = _kind(of) + (" (optional)" if optional[field] else "")
        yield f"| `{field}` | {kind} | {of.get('description') or forms[_reference(of)]['description']} |"


def _kind(field: Mapping[str, Any]) -> str:
    """Returns the JSON type of a field, in words."""
    if "$ref" in field:
        name = _reference(field)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(map(_kind, field["anyOf"]))
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    if "prefixItems" in field:
        return f"[{', '.join(map(_kind, field['prefixItems']))}]"
    kind = field["type"]
    if kind == "array":
        return f"list of {_kind(field['items'])}"
    if kind == "object":
        inner = field.get("additionalProperties")
        return f"object of {_kind(inner)}" if inner else "object"
    return str(kind)


if __name__ == "__main__":
    sys.stdout.write(page())
