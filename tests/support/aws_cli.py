"""Stands in for the AWS CLI as far as the documentation uses it: any operation of any service, and some commands of
`aws s3`."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import botocore.session
import jmespath


def main(words: list[str]) -> None:
    """Runs one command line."""
    if words[0] == "s3":
        high_level(words[1], words[2:])
        return
    service, operation, *rest = words
    client = botocore.session.get_session().create_client(service)
    names = {_flag(name): name for name in (client.meta.service_model.operation_names)}
    model = client.meta.service_model.operation_model(names[operation])
    members = {_flag(name): (name, shape) for name, shape in model.input_shape.members.items()}
    given, outer = {}, {}
    for flag, value in zip(rest[::2], rest[1::2], strict=True):
        text = Path(value.removeprefix("file://")).read_text() if value.startswith("file://") else value
        name = flag.removeprefix("--")
        if name in members:
            kind = members[name][1].type_name
            given[members[name][0]] = text if kind == "string" else json.loads(text)
        else:
            outer[name] = text
    method = {"delete": "delete"}.get(operation, operation.replace("-", "_"))
    answer = getattr(client, method)(**given)
    answer.pop("ResponseMetadata", None)
    if "query" in outer:
        answer = jmespath.search(outer["query"], answer)
    if outer.get("output") == "text":
        print(answer)
    elif answer:
        print(json.dumps(answer, indent=4, default=str))


def high_level(command: str, words: list[str]) -> None:
    """Does `aws s3 mb`, `rb --force`, `ls --recursive`, `sync` and `cp`."""
    client: Any = botocore.session.get_session().create_client("s3")
    places = [word for word in words if not word.startswith("--")]
    bucket, _, prefix = next(p for p in reversed(places) if p.startswith("s3://"))[5:].partition("/")
    if command == "mb":
        client.create_bucket(Bucket=bucket)
        print(f"make_bucket: {bucket}")
    elif command == "rb":
        for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=entry["Key"])
        client.delete_bucket(Bucket=bucket)
        print(f"remove_bucket: {bucket}")
    elif command == "ls":
        for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            print(f"{entry['LastModified']:%Y-%m-%d %H:%M:%S} {entry['Size']:10d} {entry['Key']}")
    elif places[0].startswith("s3://"):  # sync to a directory
        for entry in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
            target = Path(places[1], entry["Key"].removeprefix(prefix).lstrip("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
    else:
        root = Path(places[0])
        for path in sorted(each for each in [root, *root.rglob("*")] if each.is_file()):
            key = "/".join(
                part for part in (prefix.rstrip("/"), path.relative_to(root).as_posix()) if part != "."
            )
            key = f"{prefix}{path.name}" if path == root else key
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
            print(f"upload: {path} to s3://{bucket}/{key}")


def _flag(name: str) -> str:
    """Returns an operation's name as the CLI writes it: `create-role` for `CreateRole`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1:])
