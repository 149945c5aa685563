"""docs/reference.md: every command and flag, from the parsers. `python -m mu.cli.reference > docs/reference.md`"""

import argparse
import sys
from collections.abc import Iterator

from mu.cli import main
from mu.server import flags

HEAD = """\
# Reference

Every command and flag of `mu`, and those of coordinator scripts. Made from the parsers by
`python -m mu.cli.reference > docs/reference.md`.

Exit status, everywhere: 0 done, 1 failed, 2 wrong use (nothing was started), 130 and 143 after SIGINT and SIGTERM.
"""

SCRIPTS = f"""\
## Coordinator scripts

A script has a flag when its `ServerInfo` has the attribute; `--worker-cert` and `--worker-key` come with `cacert`.
Every script has `--debug`, and those from `{flags.EVERY_SCRIPT[0].long}` on.
"""


def page() -> str:
    """All of docs/reference.md."""
    lines = [HEAD]
    for group, title in main.GROUPS.items():
        lines.append(f"## {group}: {title}\n")
        for name, (of, _, text) in main.COMMANDS.items():
            if of == group:
                lines += _command(f"mu {name}", main.load(name)[1], text)
    lines += [SCRIPTS, "| flag | attribute | meaning |", "| --- | --- | --- |"]
    lines.append("| `-D` `--debug` | | debug messages on stderr |")
    for flag in (*flags.FLAGS, *flags.WORKER_FLAGS, *flags.EVERY_SCRIPT):
        names = " ".join(f"`{name}`" for name in (flag.short, flag.long) if name)
        value = f" {flag.metavar}" if flag.metavar else ""
        lines.append(f"| {names}{value} | `{flag.attribute}` | {flag.text} |")
    return "\n".join(lines) + "\n"


def _command(name: str, parser: argparse.ArgumentParser, text: str = "") -> Iterator[str]:
    yield f"### {name}\n"
    if text:
        yield f"{text[:1].upper()}{text[1:]}.\n"
    inner: dict[str, argparse.ArgumentParser] = {}
    words, flags = [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner |= action.choices
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            flags.append(action)
        else:
            words.append(action)
    usage = [
        name,
        *(["[FLAGS]"] if len(flags) > 1 else []),
        *map(_placeholder, words),
        *(["|".join(inner)] if inner else []),
    ]
    yield f"```\n{parser.usage or ' '.join(usage)}\n```\n"
    yield f"```\n{(parser.description or '').strip()}\n```\n"
    rows = [(f"`{_placeholder(word)}`", word) for word in words]
    rows += [(_spelled(flag), flag) for flag in flags if flag.dest != "help"]
    if rows:
        yield "| | |\n| --- | --- |"
        yield from (f"| {left} | {_help(action)} |" for left, action in rows)
        yield ""
    for word, made in inner.items():
        yield from _command(f"{name} {word}", made)


def _placeholder(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else None
    name = metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]", "...": f"{name} ..."}.get(
        str(action.nargs), name
    )


def _spelled(action: argparse.Action) -> str:
    names = " ".join(f"`{name}`" for name in action.option_strings)
    return names if action.nargs == 0 else f"{names} {action.metavar or action.dest.upper()}"


def _help(action: argparse.Action) -> str:
    text = (action.help or "") % {"default": action.default, "prog": "", "dest": action.dest}
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
