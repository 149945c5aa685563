#!/bin/sh
# All checks: style, types, the C code under sanitizers, and the tests. Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."
bin/setup.sh dev
PATH=$PWD/.venv/bin:$PATH

ruff check .
ruff format --check .
mypy
tests/c/run.sh
make --no-print-directory -C tools/png2y4m
# Three processes on two cores: tests often wait for processes, time limits and daemons.
exec python -m pytest -n 3 --dist worksteal -ra "$@"
