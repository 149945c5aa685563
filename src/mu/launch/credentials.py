"""What invocations are signed with. Keys of a role live for an hour, or less; a run may last longer, so they are asked
for again while it goes on: when they change, and when the service says that they have expired."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from mu.errors import UsageError


class Keys(NamedTuple):
    """An access key and, if it is a role's or a session's, its token. Its repr shows no secret."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Keys({self.access_key!r}, ...)"


class Credentials(Protocol):
    """Where keys come from. Any thread may ask."""

    @property
    def renewable(self) -> bool:
        """Whether there may be other keys later."""

    @property
    def seen(self) -> list[Keys]:
        """All keys that have been handed out, the latest last."""

    def keys(self) -> Keys:
        """The keys of this moment. UsageError, one line, if there are none to be had."""

    def renewed(self, refused: Keys) -> Keys:
        """Keys other than those that the service has refused as expired, or the same if there are no others."""


class FixedCredentials:
    """Keys that the caller has named."""

    renewable = False

    def __init__(self, keys: Keys) -> None:
        self.seen = [keys]

    def keys(self) -> Keys:
        """The keys."""
        return self.seen[0]

    def renewed(self, refused: Keys) -> Keys:
        """The same ones."""
        return refused


class ProvidedCredentials:
    """Keys that a function of the caller's returns, each time the ones to use now."""

    renewable = True

    def __init__(self, provider: Callable[[], Any]) -> None:
        self._provider = provider
        self.seen: list[Keys] = []

    def keys(self) -> Keys:
        """What the function returns."""
        with _explained():
            return _noted(self._provider(), self.seen)

    def renewed(self, refused: Keys) -> Keys:
        """What it returns now."""
        return self.keys()


class ChainCredentials:
    """Keys of the ordinary AWS chain. botocore renews those that it can; others, such as those that another program
    writes into the credentials file, are read anew when they have expired."""

    renewable = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None
        self.seen: list[Keys] = []

    def keys(self) -> Keys:
        """The keys that the chain finds; it is looked through the first time."""
        from mu import aws

        with self._lock, _explained():
            if self._found is None:
                self._found = aws.botocore_session().get_credentials()
            return _noted(self._found and self._found.get_frozen_credentials(), self.seen)

    def renewed(self, refused: Keys) -> Keys:
        """The keys that botocore has now, or that the chain finds when it is looked through anew."""
        from mu import aws

        keys = self.keys()
        if keys != refused:
            return keys
        with self._lock:
            aws.forget_session()
            self._found = None
        return self.keys()


def _noted(found: Any, seen: list[Keys]) -> Keys:
    """What a provider has handed out, as Keys, and in `seen`."""
    if found is None or not found.access_key or not found.secret_key:
        raise UsageError(
            "no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or run 'aws configure'"
        )
    keys = Keys(found.access_key, found.secret_key, found.token or None)
    if keys not in seen[-1:]:
        seen.append(keys)
    return keys


@contextmanager
def _explained() -> Iterator[None]:
    """Turn whatever a provider of keys raises into a UsageError that says why there are none."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        from mu import aws

        raise UsageError(f"cannot get AWS credentials: {aws.provider_failure(error)}") from None
