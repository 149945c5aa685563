"""Makes the text of a command from its template and the worker's variables.

    vars... COMMAND ...args    with ##QUALITY## ##INFILE## ##OUTFILE## ##INSTATEWAIT##
                               ##INSTATESWITCH## ##TMPDIR## replaced, in this order

A value comes from variable `cmd<name>`, otherwise from event field `<name>`. A placeholder without a value is not
replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mu.wire.protocol import TMPDIR
from mu.work.variables import integer

VALUES = ("quality", "infile", "outfile")


def expand(template: str, vals: Mapping[str, Any], event: Mapping[str, Any], tmpdir: str) -> str:
    """Returns the command for `template`; `tmpdir` is the worker's directory."""
    before, after = (_text(_value(name, vals, event)) for name in ("vars", "args"))
    text = " ".join(part for part in (before, template, after) if part)
    for name in VALUES:
        value = _value(name, vals, event)
        if value is not None:
            text = text.replace(f"##{name.upper()}##", _text(value))
    wait, switch = _state_switches(vals)
    text = text.replace("##INSTATEWAIT##", wait).replace("##INSTATESWITCH##", switch)
    return text.replace(TMPDIR, tmpdir)


def awaited_state(command: str, vals: Mapping[str, Any], tmpdir: str) -> str:
    """Returns the neighbour's state file that an expanded command waits for; empty if there is none."""
    path = f"{tmpdir}/{integer(vals, 'run_iter') - 1}.state"
    return path if integer(vals, "expect_statefile") and path in command else ""


def _value(name: str, vals: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    value = vals.get(f"cmd{name}")
    return event.get(name) if value is None else value


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _state_switches(vals: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the shell text that waits for the neighbour's state, and the switch by which xc-enc starts from it."""
    run_iter = integer(vals, "run_iter")
    if not run_iter or not integer(vals, "expect_statefile"):
        return "", ""
    state = f'"{TMPDIR}/{run_iter - 1}.state"'
    wait = f'( while [ ! -f {state} ]; do sleep 0.025; done; echo "hi" ) | '
    switch = f'-r -I {state} -p "{TMPDIR}/prev.ivf"'
    if run_iter > 1:
        older = 0 if integer(vals, "minimal_recode") else run_iter - 2
        switch += f' -S "{TMPDIR}/{older}.state"'
    return wait, switch
