"""Checks what a script's state classes declare, once for each class, when its first state is entered.

A name that no state class reads changes nothing, and a machine without commands is done at once. So a misspelt
`commandlist` would make a job that does nothing and says that all went well.
"""

import ast
import dis
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from math import isinf
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mu.errors import OURS, MuError, is_users
from mu.machine.command_list import FORM, wrong_place
from mu.machine.places import place_of, shown

# What a script's classes may declare, by kind.
METHODS = {"post_transition", "transition", "info_updated", "testfn"}
SUCCESSORS = {"nextState", "consequentState", "alternativeState", "loopState", "exitState"}
VALUES = {
    "expect", "command", "expects", "commands", "commandlist", "pipelined", "state_constructors", "iterKey",
    "breakKey", "iterInit", "iterFin",
}  # fmt: skip
# What a state of each class waits for and sends.
WORK = {
    "CommandListState": ("commandlist",),
    "MultiPassState": ("expects", "commands"),
    "ForLoopState": (),
    "OnePassState": ("expect", "command"),
}
WORDS = {name for names in WORK.values() for name in names}
LISTS = {
    "commandlist": "a list of commands and pairs (expected, command)",
    "expects": "a list of expected texts",
    "commands": "a list of commands",
    "state_constructors": "a list of state classes",
}
# With these, code can read attributes whose names it does not contain.
COMPUTING = {"vars", "dir", "__dict__", "__getattribute__", "getmembers", "attrgetter", "eval", "exec"}
DECORATORS = 20  # of one function, which are looked through
LONG = 12  # letters of a name in which two may be missing

# The `breakKey`s of all loops that have begun.
BREAK_KEYS: set[str] = set()


def examine(state: Any) -> str:
    """Returns what is wrong with the declarations of a state's class, or of this state; an empty text if nothing is
    found. A class without mistakes is examined once."""
    kind = type(state)
    found = ""
    with suppress(Exception):  # a script's own properties may fail here
        found = _misspelt(state) or _mistyped(state)
        if not found:
            kind._examined = kind
    return found


def _misspelt(state: Any) -> str:
    """Returns the text for a name that no state class reads, and that was probably meant for another one.

    That is so if it is almost that of a declaration which is missing and whose kind of value it has, or if it is one
    of another state class's commands and the state has none. A name that the script reads anywhere is its own.
    """
    kind = type(state)
    own = own_classes(kind)
    work = next((names for known, names in WORK.items() if _is_a(kind, known)), ())
    # A script's own post_transition may know the successors by other names.
    successors = set() if _overrides(own, "post_transition") else SUCCESSORS
    missing = [
        name
        for name in sorted(METHODS | successors | (VALUES - WORDS) | set(work))
        if hasattr(kind, name) and not declared(state, name)
    ]
    idle = set(work) <= set(missing) and not any(
        getattr(state, name, None) for name in WORDS - {"commandlist"}
    )
    for where, name, value in _names(state, own):
        guess = next((right for right in missing if alike(name, right) and _fits(right, value)), "")
        if not guess and idle and work and name in WORDS and where is not state:
            guess = " and ".join(work)
        elif hasattr(_library_class(kind), name):
            continue
        if guess and not _reads(own, name):
            here = kind if where is state else where
            return f"{here.__name__}.{name}: did you mean {guess}?{place_of(here)}"
    return ""


def _names(state: Any, own: Sequence[type]) -> Iterator[tuple[Any, str, Any]]:
    """Yields the names that a script's classes and their constructors have set, which are not marked as their own."""
    for where in (*own, state) if own else ():
        for name, value in vars(where).items():
            if not name.startswith("_") and not name.isupper() and name not in state.exits:
                yield where, name, value


def own_classes(kind: type) -> list[type]:
    """Returns those of a class's bases, itself included, that are the script's."""
    return [each for each in kind.__mro__ if not _is_ours(each)]


def _overrides(own: Iterable[type], name: str) -> bool:
    """Returns whether one of a script's classes has an attribute of its own."""
    return any(name in vars(each) for each in own)


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in ("mu", "builtins")


def _library_class(kind: type) -> type:
    return next(each for each in kind.__mro__ if _is_ours(each))


def _is_a(kind: type, name: str) -> bool:
    return any(each.__name__ == name and _is_ours(each) for each in kind.__mro__)


def declared(state: Any, name: str) -> bool:
    """Returns whether a script's class, or its constructor, has set an attribute."""
    if _overrides(own_classes(type(state)), name):
        return True
    value = vars(state).get(name, [])
    return not (isinstance(value, list) and not value)  # every state sets its lists, which may be empty


def alike(name: str, right: str) -> bool:
    """Returns whether a name is probably a misspelt other one: without regard to case and underscores it is the same,
    has one letter too many or too few (two in a long name), or two neighbours swapped."""
    a, b = (each.replace("_", "").lower() for each in (name, right))
    short, long = sorted((a, b), key=len)
    if name == right or len(long) - len(short) > (2 if len(long) >= LONG else 1):
        return False
    if len(short) < len(long):
        letters = iter(long)
        return all(letter in letters for letter in short)
    differ = [place for place, letter in enumerate(a) if letter != b[place]]
    return not differ or (
        len(differ) == 2
        and differ[1] == differ[0] + 1
        and a[differ[0]] + a[differ[1]] == b[differ[1]] + b[differ[0]]
    )


def _fits(right: str, value: object) -> bool:
    """Returns whether a value is of the kind that a declaration has."""
    if right in METHODS:
        return isinstance(value, FunctionType)
    if right in SUCCESSORS:
        return callable(value)
    return not callable(value) and not isinstance(value, property)


def _reads(own: Iterable[type], name: str) -> bool:
    """Returns whether a script reads an attribute of this name, or may do so because that is not to be seen.

    A script is the modules that define its classes, the one that was started, and those of the user's that they use.
    """
    modules: list[Any] = [sys.modules.get(each.__module__) for each in own]
    if _is_of_user(sys.modules["__main__"]):
        modules.append(sys.modules["__main__"])
    seen = set()
    while modules:
        module = modules.pop()
        file = getattr(module, "__file__", None)
        if file in seen:
            continue
        seen.add(file)
        names = names_read(file) if file else None
        if names is None or name in names:
            return True
        for value in list(vars(module).values()):
            name_of_used = getattr(value, "__name__" if isinstance(value, ModuleType) else "__module__", "")
            used = sys.modules.get(name_of_used)
            if _is_of_user(used):
                modules.append(used)
    return False


def _is_of_user(module: object) -> bool:
    return is_users(getattr(module, "__file__", None) or OURS)


@lru_cache(maxsize=1024)
def names_read(file: str) -> frozenset[str] | None:
    """Returns the names that the code of a file reads, and the words in its texts, since these may be names of
    attributes, but not those in its docstrings. Returns None if it computes such names, or cannot be parsed."""
    try:
        nodes = list(ast.walk(ast.parse(Path(file).read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return None
    prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in COMPUTING:
                return None
            found.add(name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found.update(re.findall(r"\w+", node.value))
        elif isinstance(node, ast.MatchClass):
            found.update(node.kwd_attrs)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "hasattr")
            and not all(isinstance(each, ast.Constant) for each in node.args[1:2])
        ):
            return None
    return frozenset(found)


def code_of(value: object) -> CodeType | None:
    """Returns the code of a function, a method or a property, without its decorators; None if there is none."""
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)
    for _ in range(DECORATORS):
        value = getattr(value, "__wrapped__", value)
    found = getattr(value, "__code__", None)
    return found if isinstance(found, CodeType) else None


def read_in(code: CodeType | None) -> set[str]:
    """Returns the names and texts that a function's code reads."""
    if code is None:
        return set()
    found = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname.startswith("LOAD") and isinstance(step.argval, str)
    }
    return found.union(*(read_in(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _mistyped(state: Any) -> str:
    """Returns the text for an expectation or a command that is neither text nor None. A script's own `transition` may
    have others."""
    kind = type(state)
    if _overrides(own_classes(kind), "transition"):
        return ""
    library = _library_class(kind)
    values = {name: getattr(state, name) for name in ("expect", "command") if hasattr(library, name)}
    for name in ("expects", "commands"):
        if hasattr(library, name):
            values |= {f"{name}[{place}]": each for place, each in enumerate(getattr(state, name))}
    found = next((item for item in values.items() if not _is_text(*item)), None)
    if found is None:
        return ""
    return f"{kind.__name__}.{found[0]} is {shown(found[1])}, neither text nor None{place_of(kind)}"


def _is_text(name: str, value: object) -> bool:
    if value is None or isinstance(value, str):
        return True
    if name.startswith("command"):
        return isinstance(value, bytes)
    return isinstance(value, list | tuple) and all(_is_text("", each) for each in value)


# Values, when they are read


def listed_once(state: Any, name: str) -> Sequence[Any]:
    """Returns a declared list. An iterator is replaced by a list, where it was declared, since it yields its items
    once only, and all parts need them. Raises MuError if it is no list."""
    value = getattr(state, name)
    if type(value) in (list, tuple):
        return value  # type: ignore[no-any-return]
    if isinstance(value, str | bytes | Mapping | set | frozenset) or not hasattr(type(value), "__iter__"):
        kind = type(state)
        raise MuError(f"{kind.__name__}.{name} is {shown(value)}, not {LISTS[name]}{place_of(kind)}")
    items = list(value)
    if hasattr(type(value), "__next__"):
        for where in (state, *type(state).__mro__):
            if vars(where).get(name) is value:
                setattr(where, name, items)
    return items


def no_entry(kind: type, entries: Sequence[object]) -> MuError | None:
    """Returns the error for the first entry of a command list that is none; None if all are."""
    place = wrong_place(entries)
    if place is None:
        return None
    return MuError(
        f"{kind.__name__}.commandlist[{place}] is {shown(entries[place])}: write {FORM}{place_of(kind)}"
    )


def unequal(state: Any) -> MuError:
    """Returns the error for lists that do not have as many expectations as commands."""
    kind = type(state)
    return MuError(
        f"{kind.__name__} has {len(state.expects)} expects and {len(state.commands)} commands: write None where "
        f"nothing is expected or sent{place_of(kind)}"
    )


def too_late(state: Any, name: str) -> MuError:
    """Returns the error for a list that was set after the constructor that reads it."""
    kind = type(state)
    return MuError(
        f"{kind.__name__}.{name} is set too late: set it before super().__init__(...), which reads it"
        + place_of(kind.__init__, kind)
    )


def need_whole(state: Any, name: str) -> None:
    """Raises MuError if a loop's bound is no whole number; an infinite one is good."""
    value = getattr(state, name)
    try:
        good = value == value // 1 or isinf(value)
    except (TypeError, ArithmeticError):
        good = False
    if not good:
        kind = type(state)
        hint = ": write // where Python 2 had /" if isinstance(value, float) else ""
        raise MuError(f"{kind.__name__}.{name} is {shown(value)}, not a whole number{hint}{place_of(kind)}")


# Loops


def loop_left(state: Any) -> str:
    """Returns a warning if a machine has ended in `state`, a plain TerminalState, in the middle of a loop, only
    because a successor was not declared; otherwise an empty text."""
    before = state.prevState
    if before is None or not any(key in state.info and not state.info[key] for key in BREAK_KEYS):
        return ""
    kind = type(before)
    missing = [
        name
        for name in before.exits
        if getattr(before, name, None) is type(state) and not declared(before, name)
    ]
    follows = code_of(kind.post_transition)
    if follows is None or not missing or not own_classes(kind):
        return ""
    if is_users(follows.co_filename):
        read = read_in(follows)
        missing = [name for name in missing if name in read and type(state).__name__ not in read]
    if not missing:
        return ""
    return (
        f"{kind.__name__}.{missing[0]} is not set, so a part has ended in the middle of a loop: set it to the state "
        f"that follows, or to TerminalState if that is meant{place_of(kind)}"
    )
