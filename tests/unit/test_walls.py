"""Import rules: a table of which room may import which, no import cycles (C files included), and the worker's modules.

A room is a folder of src/mu or a module beside the folders. All rooms may import `errors` and `defs`.
"""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from mu.lambdaize.archive import worker_files

SOURCE = Path(__file__).parents[2] / "src" / "mu"
LATE = {"boto3", "botocore"}
TYPES = {"mypy_boto3_s3"}
# Modules that are slow to load; each worker would pay for them at its start.
SLOW = {"asyncio", "concurrent", "dataclasses", "email", "hashlib", "http", "logging", "pathlib", "random"}
SLOW |= {"argparse", "inspect", "json", "secrets", "shutil", "tempfile", "urllib", "xml"}

EVERYONE = {"errors", "defs"}
BELOW_SERVER = {
    "wire",
    "aws",
    "preflight",
    "console",
    "tls",
    "machine",
    "machine_state",
    "launch",
    "relay",
    "report",
    "history",
}
BELOW_SERVER |= {"engines", "lambdaize", "util"}
BELOW_JOBS = BELOW_SERVER | {"server"}
BELOW_MAPPING = BELOW_JOBS | {"jobs"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "defs": set(),
    "wire": set(),
    "console": set(),
    "preflight": {"console"},
    "aws": {"preflight"},
    "work": {"wire"},
    "tls": {"wire"},
    "machine": {"wire"},
    "machine_state": {"wire", "machine"},
    "handler": {"work", "wire"},
    "worker": {"handler", "work", "wire"},
    "pilot": {"worker", "wire"},
    "standalone": {"pilot", "wire"},
    "util": {"tls", "wire"},
    "launch": {"console", "aws", "preflight"},
    "pylaunch": {"launch"},
    "relay": {"tls", "wire", "console"},
    "report": {"machine", "launch", "console", "wire", "aws"},
    "history": {"report", "machine", "launch", "console"},
    "lambdaize": {"aws", "console", "preflight"},
    "engines": {"launch", "lambdaize", "aws", "preflight", "console", "wire"},
    "server": BELOW_SERVER,
    "jobs": BELOW_JOBS,
    "mapping": BELOW_MAPPING,
    "testing": BELOW_MAPPING | {"work", "handler", "worker"},
    # `engines` for the model of growth, which the local engine applies.
    "local": {"console", "aws", "engines"},
    "__init__": BELOW_MAPPING
    | {"mapping", "testing", "handler", "pylaunch"},  # lazily: imported when the name is first used
    "cli": BELOW_MAPPING
    | {"mapping", "local", "testing", "pylaunch", "work", "handler", "worker", "standalone"},
    "__main__": {"cli"},
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Returns a module's imports as dotted names, including late ones and those for type checking."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> dict[str, Path]:
    """Returns every module's dotted name below `mu`, such as `wire.framing`; a package has its folder's name."""
    return {
        str(path.relative_to(SOURCE).with_suffix("")).replace("/", ".").removesuffix(".__init__"): path
        for path in SOURCE.rglob("*.py")
    }


MODULES = modules()


def needed(path: Path) -> set[str]:
    """Returns the modules of mu that a file imports, by their dotted names below `mu`."""
    found = set()
    for name in imports(ast.parse(path.read_bytes())):
        if name.startswith("mu."):
            inner = name.removeprefix("mu.")
            while inner and inner not in MODULES:
                inner = inner.rpartition(".")[0]
            found.add(inner or "__init__")
    return found


def outside_the_table(rooms: Mapping[str, set[str]]) -> list[str]:
    """Returns the imports that the table forbids, given each module's imports."""
    return [
        f"{name} imports {other}"
        for name, others in rooms.items()
        for other in others
        if (mine := name.partition(".")[0]) != (theirs := other.partition(".")[0])
        and theirs not in MAY_IMPORT[mine] | EVERYONE
        and theirs != "__init__"
    ]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns a cycle in a graph, or an empty list."""
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> list[str]:
        if name in above:
            return [*above[above.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, (*above, name)):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, ()))), [])


def python_imports() -> dict[str, set[str]]:
    """Returns the modules of mu that each module imports; `__init__` files are left out, since they only re-export
    names, and do so lazily."""
    faces = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    return {
        name: {other for other in needed(path) if other not in faces and other != name}
        for name, path in MODULES.items()
        if name not in faces
    }


def test_rooms_import_only_those_that_the_table_allows() -> None:
    assert set(MAY_IMPORT) >= {name.partition(".")[0] for name in MODULES}
    assert outside_the_table({name: needed(path) for name, path in MODULES.items()}) == []


def test_no_module_is_in_a_circle_of_imports() -> None:
    assert circle(python_imports()) == []


def test_no_c_file_is_in_a_circle() -> None:
    """An edge of the graph means that one C file calls a function of another."""
    texts = {path.name: path.read_text() for path in (SOURCE / "launch").glob("*.c") if path.name[0] != "_"}
    defined = {
        name: file
        for file, text in texts.items()
        for name in re.findall(r"^(?!static)[a-z][\w *]*?\b(mu_\w+)\([^;]*?\)\s*\{", text, re.MULTILINE)
    }
    assert len(defined) > 20
    graph = {
        file: {defined[word] for word in re.findall(r"\b(mu_\w+)\(", text) if word in defined} - {file}
        for file, text in texts.items()
    }
    assert circle(graph) == []


def test_the_wall_is_one() -> None:
    assert outside_the_table(
        {"wire.framing": {"server.loop"}, "server.loop": {"wire.framing", "errors"}}
    ) == ["wire.framing imports server.loop"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def at_start(tree: ast.Module) -> set[str]:
    """Returns the top-level names of the modules that are imported together with a module."""
    return {name.partition(".")[0] for node in tree.body for name in imports_of(node)}


def imports_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from imports(node)


@pytest.mark.parametrize("name", worker_files())
def test_what_a_workers_module_imports(name: str) -> None:
    tree = ast.parse((SOURCE / name).read_bytes())
    assert {module.partition(".")[0] for module in imports(tree)} <= {
        "mu",
        *LATE,
        *TYPES,
        *sys.stdlib_module_names,
    }
    assert at_start(tree) <= {"mu", *sys.stdlib_module_names} - SLOW


def test_what_is_shipped_to_workers_is_enough(tmp_path: Path) -> None:
    for name in worker_files():
        (tmp_path / "mu" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / name, tmp_path / "mu" / name)
    dotted = (name.removesuffix(".py").replace("/", ".") for name in worker_files() if "__init__" not in name)
    loads = ", ".join(f"mu.{name}" for name in dotted)
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {loads}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded <= {"mu", "__main__", "sitecustomize", *sys.stdlib_module_names}


def test_a_worker_starts_without_what_is_slow() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import mu.worker; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(SOURCE.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {name.partition(".")[0] for name in done.stdout.split()} & SLOW


def test_what_the_hello_does_not_need_is_imported_late_and_prepared() -> None:
    commands = "executable", "file_store", "files", "program", "s3", "transfer"
    loop = "leftovers", "loop", "outside", "process", "replies", "session", "state_socket", "threads"
    late = (*(f"mu.work.{name}" for name in (*commands, *loop)), "mu.handler", "mu.wire.socket_nb")
    names = f"[name for name in {late} if name in sys.modules]"
    begin = "import sys; sys.path.insert(0, sys.argv[1]); import mu.worker"
    code = f"{begin}; print({names}); mu.worker.prepare(); print({names})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(SOURCE.parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", str(list(late))]


RECORDS = {"msgspec", "mu.history.record", "mu.history.schema"}
TLS = {"OpenSSL", "cryptography"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import mu", {"typing", "re", "importlib"}),
        ("from mu.cli import main; main.main(['--help'])", {"argparse", "pathlib", "mu.console.arguments"}),
        ("from mu.cli import main; main.main(['--version'])", {"argparse", "pathlib", "importlib.metadata"}),
        (
            "from mu.cli import main; main.load('map')",
            TLS | RECORDS | {"mu.launch._liblaunch", "mu.server.run"},
        ),
        ("import mu.mapping.run", RECORDS | {"html", "mu.history.runs", "mu.launch._liblaunch"}),
        ("from mu import server; server.Job; server.options", TLS | RECORDS | {"mu.launch._liblaunch"}),
        # All that a run without a record imports until it launches.
        (
            "import mu.server.api, mu.tls.keys, mu.engines.aws_lambda",
            RECORDS | {"boto3", "botocore", "cProfile", "html", "importlib.metadata", "importlib.resources"},
        ),
    ],
)
def test_what_is_not_needed_is_not_imported(code: str, absent: set[str]) -> None:
    """Imports are most of the CPU time that a command or the start of a run takes."""
    before, isolated = "import sys; sys.path[:] = sys.argv[1:]", (sys.executable, "-I", "-S", "-c")
    done = subprocess.run(
        [*isolated, f"{before}; {code}; print(*sys.modules, file=sys.stderr)", str(SOURCE.parent), *sys.path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(done.stderr.split()) & absent


@pytest.mark.parametrize("name", [*worker_files(), "lambdaize/package_main.py"])
def test_workers_run_on_python_3_9(name: str) -> None:
    """Hosts of the ssh and slurm engines may have no newer Python. The test looks for newer syntax, which `ast` can
    detect, and for `|` between types where it is evaluated; annotations are not, with `from __future__ import
    annotations`."""
    tree = ast.parse((SOURCE / name).read_bytes(), feature_version=(3, 9))
    late = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (annotation := getattr(node, field, None)) is not None
        for inner in ast.walk(annotation)
    }
    unions = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.BitOr)
        and not (late and id(node) in annotations)
        and (id(node) in annotations or any(is_type(side) for side in (node.left, node.right)))
    ]
    assert unions == []


def is_type(node: ast.expr) -> bool:
    """Returns whether an expression looks like a type: `None`, `list[str]`, `int`, or a name like a class's."""
    if isinstance(node, ast.Name):
        return node.id in {"int", "str", "bytes", "float", "bool", "list", "dict", "tuple", "set"} or (
            node.id[0].isupper() and not node.id.isupper()
        )
    return isinstance(node, ast.Constant) and node.value is None


def test_the_map_in_contributing_names_all_that_there_is_and_nothing_else() -> None:
    tables = [
        line
        for line in (SOURCE.parents[1] / "CONTRIBUTING.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    named = {name for line in tables for name in re.findall(r"`([\w/]+(?:/|\.py))`", line)}
    assert {name for name in named if not (SOURCE / name).exists()} == set()
    rooms = {f"{path.name}/" for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms | {path.name for path in SOURCE.glob("*.py")} - {"__init__.py"} <= named
