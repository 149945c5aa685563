"""The credentials that sign invocations.

A role's keys are valid for an hour or less, but a run may last longer. So they are asked for again while it goes on,
to notice changes, and when the service reports that they have expired.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from mu.errors import UsageError
from mu.launch import environment


class Keys(NamedTuple):
    """An access key and, if it is a role's or a session's, its token. Its repr shows no secret."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Keys({self.access_key!r}, ...)"


class NoCredentialsError(UsageError):
    """There are no keys at all."""


class Credentials(Protocol):
    """A source of keys. Its methods may be called from any thread."""

    @property
    def renewable(self) -> bool:
        """Whether other keys may be available later."""

    @property
    def seen(self) -> list[Keys]:
        """All keys that have been returned, the latest last."""

    def keys(self) -> Keys:
        """Returns the present keys. Raises UsageError, with one line, if there are none."""

    def renewed(self, refused: Keys) -> Keys:
        """Returns keys other than those that the service has refused as expired, or the same if there are no
        others."""


class FixedCredentials:
    """Keys that the caller has given."""

    renewable = False

    def __init__(self, keys: Keys) -> None:
        self.seen = [keys]

    def keys(self) -> Keys:
        """Returns the keys."""
        return self.seen[0]

    def renewed(self, refused: Keys) -> Keys:
        """Returns the same keys."""
        return refused


class ProvidedCredentials:
    """Keys from a function of the caller's, which returns the present ones at each call."""

    renewable = True

    def __init__(self, provider: Callable[[], Any]) -> None:
        self._provider = provider
        self.seen: list[Keys] = []

    def keys(self) -> Keys:
        """Returns the function's keys."""
        with _explained():
            return _noted(self._provider(), self.seen)

    def renewed(self, refused: Keys) -> Keys:
        """Returns the function's present keys."""
        return self.keys()


class ChainCredentials:
    """Keys from the usual AWS chain, by botocore unless the environment decides (environment.py).

    botocore renews those that it can; others, such as those that another program writes into the credentials file,
    are read again when they have expired.
    """

    renewable = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None
        self.seen: list[Keys] = []

    def keys(self) -> Keys:
        """Returns the keys that the chain finds; it is searched at the first call."""
        with self._lock, _explained():
            given = environment.keys() if self._found is None else None
            if given is not None:
                return _noted(Keys(*given), self.seen)
            if self._found is None:
                from mu import aws

                self._found = aws.botocore_session().get_credentials()
            return _noted(self._found and self._found.get_frozen_credentials(), self.seen)

    def renewed(self, refused: Keys) -> Keys:
        """Returns botocore's present keys, or those that the chain finds in a new search."""
        from mu import aws

        keys = self.keys()
        if keys != refused:
            return keys
        with self._lock:
            aws.forget_session()
            self._found = None
        return self.keys()


def _noted(found: Any, seen: list[Keys]) -> Keys:
    """Returns a provider's keys as Keys, and adds them to `seen`."""
    if found is None or not found.access_key or not found.secret_key:
        raise NoCredentialsError(
            "no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or run 'aws configure'"
        )
    keys = Keys(found.access_key, found.secret_key, found.token or None)
    if keys not in seen[-1:]:
        seen.append(keys)
    return keys


@contextmanager
def _explained() -> Iterator[None]:
    """Turns any exception of a provider of keys into a UsageError with its reason."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        from mu import aws

        raise UsageError(f"cannot get AWS credentials: {aws.provider_failure(error)}") from None
