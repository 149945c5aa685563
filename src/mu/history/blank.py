"""Secrets in texts: what is known to be one, or looks like one, is blanked wherever it occurs in a record."""

import os
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from mu.history.schema import whole_characters

SECRET_SETTINGS = frozenset(("cacert", "srvcrt", "srvkey", "worker_cert", "worker_key"))
SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
BLANK = "***"
# Access keys; PEM, of which the beginning or the end may have been cut off; the signature of an address that is
# good for whoever has it (no key has more than 300 lines: each line of a text that only looks like one would have all
# that follow looked at); and credentials where a program prints its environment, or a file of them.
LOOKS_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]+-----(?:[^-]|-(?!----END))*(?:-----END [A-Z ]+-----)?"
    r"|(?<![^\s|])(?:[A-Za-z0-9+/=]{1,100}[ \r]*\n[\s|]{0,100}){1,300}-----END [A-Z ]+-----"
    r"|(?<=X-Amz-Signature=)[0-9a-f]+"
    r"|(?P<name>(?i:secret_?access_?key|(?:session|security)[_-]?token)[\"'=:\s]+)[^\s\"',;&]+"
)
CUT = 8  # characters of a secret that give it away: the rest may be beyond the end of a line that was cut
# Texts whose blanked form is kept for the next time, and how long they may be.
CACHED, CACHED_LENGTH = 4096, 300


def blanker(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that gives a text without these secrets and what looks like one, and without halves of characters,
    which no file can have."""
    known = [f"{re.escape(secret)}|{re.escape(secret[:CUT])}\\S*" for secret in secrets]
    search = re.compile("|".join([*known, LOOKS_SECRET.pattern]))

    def without(text: str) -> str:
        return search.sub(lambda found: (found["name"] or "") + BLANK, whole_characters(text))

    short = lru_cache(CACHED)(without)  # most texts are there many times
    return lambda text: short(text) if len(text) <= CACHED_LENGTH else without(text)


def blanked(value: Any, blank: Callable[[str], str]) -> Any:
    """Plain data, of lists and dictionaries, with all its texts blanked."""
    if isinstance(value, str):
        return blank(value)
    if isinstance(value, list | tuple):
        return [blanked(each, blank) for each in value]
    if isinstance(value, dict):
        return {blank(str(name)): blanked(each, blank) for name, each in value.items()}
    return value


def known_secrets(info: Any) -> list[str]:
    """The secrets that this process has: the job's keys, and the credentials in its environment."""
    found = [getattr(info, name, None) for name in SECRET_SETTINGS]
    found += [os.environ.get(name) for name in SECRET_VARIABLES]
    return worth_hiding(found)


def worth_hiding(texts: Iterable[str | None]) -> list[str]:
    """Those that are secrets: a short one, such as the local engine's, is none, and blanking it would garble the
    rest."""
    return [text for text in texts if isinstance(text, str) and len(text) >= 16]
