"""`mu completion`: scripts that let shells complete `mu` command lines, made from the parsers of its commands.

The scripts hold all words themselves: completing runs nothing of mu.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

from mu.cli import main

DESCRIPTION = """\
Print a shell's completion of mu command lines.

example:
  mu completion bash > ~/.local/share/bash-completion/completions/mu
  mu completion zsh > ~/.zfunc/_mu        # in a folder of $fpath
  mu completion fish > ~/.config/fish/completions/mu.fish
"""

SHELLS = ("bash", "zsh", "fish")


# Values of flags that take names of mu's own; a file or another text may be given as well.
VALUES = {"--engine": ("here", "lambda", "ssh:", "slurm", "microvm:")}


class Flag(NamedTuple):
    """One flag of a command: its names, whether a value follows, what it means, and known values."""

    names: tuple[str, ...]
    takes: bool
    text: str
    values: tuple[str, ...]


class Words(NamedTuple):
    """What may follow `path`, the words of a command: sub-commands, flags, and (`names`) names not known here."""

    path: tuple[str, ...]
    words: tuple[str, ...]
    flags: tuple[Flag, ...]
    names: bool


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `mu completion`."""
    parser.add_argument("shell", choices=SHELLS, help="the shell")


def run(args: argparse.Namespace) -> int:
    """Prints the script; returns the exit status."""
    sys.stdout.write({"bash": bash, "zsh": zsh, "fish": fish}[args.shell]())
    return 0


def everything() -> list[Words]:
    """Returns all commands, each followed by its sub-commands."""
    return [found for name in main.COMMANDS for found in _of_parser((name,), main.load(name)[1])]


def _of_parser(path: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[Words]:
    words: list[str] = []
    flags: list[Flag] = []
    inner: dict[str, argparse.ArgumentParser] = {}
    names = False
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner |= action.choices
            words += action.choices
        elif action.option_strings:
            text = "" if action.help == argparse.SUPPRESS else (action.help or "")
            values = next((VALUES[name] for name in action.option_strings if name in VALUES), ())
            flags.append(Flag(tuple(action.option_strings), action.nargs != 0, text, values))
        elif action.choices:
            words += map(str, action.choices)
        else:
            names = True
    yield Words(path, tuple(words), tuple(flags), names)
    for name, made in inner.items():
        yield from _of_parser((*path, name), made)


def _names(found: Words) -> list[str]:
    return [name for flag in found.flags for name in flag.names]


BASH = """\
# bash completion of mu, made by 'mu completion bash'
@NAME@() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} path= i words= files=
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$path ${COMP_WORDS[i]}" in
@PATHS@
        esac
    done
    case "$path" in
@CASES@
    esac
    case "$path $before" in
@VALUES@
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [ -n "$files" ] && [[ $word != -* ]]; then
        compopt -o filenames 2>/dev/null
        local IFS=$'\\n'
        COMPREPLY+=($(compgen -f -- "$word"))
    fi
}
complete -F @NAME@ mu
"""

# zsh loads a file of $fpath as a function of the file's name, _mu, when it first needs it: that call completes, too.
ZSH = """\
#compdef mu
# zsh completion of mu, made by 'mu completion zsh'
autoload -Uz bashcompinit && bashcompinit
@BASH@
if [ "$funcstack[1]" = _mu ]; then
    _bash_complete -F _mu_bash
fi
"""


def bash(name: str = "_mu") -> str:
    """Returns the script for bash; it defines the function `name`."""
    found = everything()
    paths, cases, values = [], [], []
    top = " ".join([*main.COMMANDS, "--help", "--version"])
    cases.append(f"        '') words='{top}' ;;")
    for each in found:
        path = " " + " ".join(each.path)
        paths.append(f"            '{path}') path='{path}' ;;")
        words = " ".join([*each.words, *_names(each)])
        cases.append(f"        '{path}') words='{words}'{' files=1' if each.names else ''} ;;")
        values += [
            f"        '{path} {name}') words='{' '.join(flag.values)}' files=1 ;;"
            for flag in each.flags
            if flag.takes
            for name in flag.names
        ]
    return (
        BASH.replace("@NAME@", name)
        .replace("@PATHS@", "\n".join(paths))
        .replace("@CASES@", "\n".join(cases))
        .replace("@VALUES@", "\n".join(values))
    )


def zsh() -> str:
    """Returns the script for zsh, which uses that for bash."""
    return ZSH.replace("@BASH@\n", bash("_mu_bash"))


def fish() -> str:
    """Returns the script for fish."""
    lines = ["# fish completion of mu, made by 'mu completion fish'"]
    names = " ".join(main.COMMANDS)
    for name, (_, _, text) in main.COMMANDS.items():
        lines.append(
            f"complete -c mu -f -n 'not __fish_seen_subcommand_from {names}' -a {name} -d {_quoted(text)}"
        )
    for spelled, text in (("-s h -l help", "what there is"), ("-s V -l version", "the version")):
        lines.append(
            f"complete -c mu -n 'not __fish_seen_subcommand_from {names}' {spelled} -d {_quoted(text)}"
        )
    for found in everything():
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in found.path)
        if found.words:
            more = f"{seen}; and not __fish_seen_subcommand_from {' '.join(found.words)}"
            lines.append(f"complete -c mu -f -n '{more}' -a '{' '.join(found.words)}'")
        for flag in found.flags:
            parts = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names]
            takes = " -r" if flag.takes else ""
            if flag.values:
                takes += f" -a '{' '.join(flag.values)}'"
            lines.append(f"complete -c mu -n '{seen}' {' '.join(parts)}{takes} -d {_quoted(flag.text)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'") + "'"
