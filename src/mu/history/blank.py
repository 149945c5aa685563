"""Removes secrets from texts: what is known to be one, or looks like one, is replaced wherever it occurs in a
record."""

import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import isfinite
from typing import Any

SECRET_SETTINGS = frozenset(("cacert", "srvcrt", "srvkey", "worker_cert", "worker_key"))
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
BLANK = "***"
# Access keys; PEM whose beginning or end may have been cut off; signatures of presigned URLs, which anybody could use;
# and credentials in the output of a program that prints its environment or a credentials file. A key has at most 300
# lines; without that bound, each line of a text that only looks like a key would be compared with all that follow.
LOOKS_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]+-----(?:[^-]|-(?!----END))*(?:-----END [A-Z ]+-----)?"
    r"|(?<![^\s|])(?:[A-Za-z0-9+/=]++[ \r]*+\n[\s|]{0,100}){1,300}-----END [A-Z ]+-----"
    r"|(?<=X-Amz-Signature=)[0-9a-f]+"
    r"|(?P<name>(?i:secret_?access_?key|(?:session|security)[_-]?token)[\"'=:\s]+)[^\s\"',;&]+"
)
CUT = 8  # characters by which a secret is recognized whose rest may have been cut off
# Number of texts whose result is cached, and their greatest length.
CACHED, CACHED_LENGTH = 4096, 300


def whole_characters(text: str) -> str:
    """Returns a text that can be written: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()


def blanker(secrets: Iterable[str]) -> Callable[[str], str]:
    """Returns a function that replaces these secrets, and what looks like one, in a text.

    It also replaces lone surrogates, which cannot be written to a file.
    """
    known = [f"{re.escape(secret)}|{re.escape(secret[:CUT])}\\S*" for secret in secrets]
    search = re.compile("|".join([*known, LOOKS_SECRET.pattern]))

    def without(text: str) -> str:
        return search.sub(lambda found: (found["name"] or "") + BLANK, whole_characters(text))

    short = lru_cache(CACHED)(without)  # most texts occur many times
    return lambda text: short(text) if len(text) <= CACHED_LENGTH else without(text)


def blanked(value: Any, blank: Callable[[str], str]) -> Any:
    """Returns plain data, of lists and dictionaries, with secrets in all texts replaced."""
    if isinstance(value, str):
        return blank(value)
    if isinstance(value, list | tuple):
        return [blanked(each, blank) for each in value]
    if isinstance(value, dict):
        return {blank(str(name)): blanked(each, blank) for name, each in value.items()}
    return value


def known_secrets(info: Any) -> list[str]:
    """Returns the secrets of this process: the job's keys, and the credentials in its environment."""
    found = [getattr(info, name, None) for name in SECRET_SETTINGS]
    found += [os.environ.get(name) for name in SECRET_VARIABLES]
    return worth_hiding(found)


def shown_settings(info: Any, names: Iterable[str]) -> dict[str, Any]:
    """Returns the settings of a `ServerInfo` that are in `names` and may be shown: keys are left out."""
    found = {
        name: getattr(info, name) for name in names if hasattr(info, name) and name not in SECRET_SETTINGS
    }
    return {name: value for name, value in found.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(each) for each in value)
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def worth_hiding(texts: Iterable[str | None]) -> list[str]:
    """Returns the texts that are really secret: a short one, such as the local engine's, is not, and replacing it
    would garble other texts."""
    return [text for text in texts if isinstance(text, str) and len(text) >= 16]
