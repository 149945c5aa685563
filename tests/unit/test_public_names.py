"""The names of `mu` itself, in a new process: which there are, and which `from mu import *` takes."""

import builtins
import subprocess
import sys

import pytest

import mu


def printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_each_name_is_there_without_another_import() -> None:
    names = printed("import mu; print(*(name for name in dir(mu) if getattr(mu, name) is not None))")
    assert {"map", "sleep", "JobError", "OnePassState", "testing"} < set(names)
    assert names == dir(mu)


@pytest.mark.parametrize(
    "name",
    [
        "errors.UsageError",
        "handler.Handler",
        "launch.launchpar",
        "machine_state.OnePassState",
        "pylaunch.launchpar",
        "server.options",
        "testing.run",
        "util.rand_str",
    ],
)
def test_modules_that_scripts_use_need_no_import_of_their_own(name: str) -> None:
    assert printed(f"import mu; print(mu.{name}.__name__)") == [name.partition(".")[2]]


def test_import_star_takes_no_name_that_a_script_has_from_elsewhere() -> None:
    code = "from time import sleep; before = sleep; from mu import *; print(sleep is before, list(map(str, [1]))[0])"
    assert printed(code) == ["True", "1"]
    assert not set(mu.__all__) & {*vars(builtins), *sys.stdlib_module_names}
    assert set(mu.__all__) == {name for name in dir(mu) if isinstance(getattr(mu, name), type)}


def test_names_that_import_star_leaves_out_can_be_imported() -> None:
    assert printed(
        "from mu import map, run, sleep; print(map.__module__, run.__module__, sleep.__module__)"
    ) == [
        "mu.mapping.api",
        "mu.jobs.run",
        "mu.jobs.requests",
    ]


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'mu' has no attribute 'nothing'"):
        _ = mu.nothing
