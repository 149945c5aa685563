"""Finds the keys, endpoints, and trusted certificates for invocations.

The caller's arguments have precedence, then what botocore finds (the environment, profiles, SSO, roles, its table of
partitions and regions). botocore takes 0.2 s and 25 MB to import, so it is imported only when it is needed, which it is
not if all is in the environment (environment.py).
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mu.errors import UsageError
from mu.launch import environment
from mu.launch.credentials import (
    ChainCredentials,
    Credentials,
    FixedCredentials,
    Keys,
    ProvidedCredentials,
)

_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")


@dataclass(frozen=True)
class Service:
    """All that a launch needs to know about AWS; its repr shows no secret."""

    credentials: Credentials = field(repr=False)
    endpoints: dict[str, str]
    """The URL of Lambda in each region."""
    ca_bundle: str | None
    """A file of PEM certificates; None for the system's."""

    @property
    def access_key(self) -> str:
        """The id of the present access key."""
        return self.credentials.keys().access_key

    @property
    def secret_key(self) -> str:
        """The present secret access key."""
        return self.credentials.keys().secret_key

    @property
    def session_token(self) -> str | None:
        """The present session token; None if there is none."""
        return self.credentials.keys().token


def resolve(
    regions: Iterable[str],
    access_key: str | None = None,
    secret_key: str | None = None,
    *,
    session_token: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
    credentials: Callable[[], Any] | None = None,
) -> Service:
    """Fills in the arguments that are None. `credentials` is as for `launchpar`. Raises UsageError, with one line, if
    there are no credentials or a region has no endpoint."""
    botocore = _Botocore()
    found = _credentials(access_key, secret_key, session_token, credentials)
    endpoints = {}
    for region in regions:
        if not isinstance(region, str) or not _REGION.fullmatch(region):
            raise UsageError(f"{region!r} is not a region, such as us-east-1")
        endpoints[region] = endpoint_url or environment.endpoint(region) or botocore.endpoint(region)
    bundle = ca_bundle or os.environ.get("AWS_CA_BUNDLE") or botocore.ca_bundle_if_loaded()
    if bundle is not None and not Path(bundle).is_file():
        raise UsageError(f"cannot read the CA bundle {bundle}; give a file of PEM certificates")
    return Service(found, endpoints, bundle)


def _credentials(
    access_key: str | None, secret_key: str | None, token: str | None, provider: Callable[[], Any] | None
) -> Credentials:
    """Returns the source of keys; it is asked once, so that an error is found before anything is sent."""
    if bool(access_key) != bool(secret_key):
        raise UsageError("an access key id and a secret access key go together; only one of them is given")
    found: Credentials
    if access_key and secret_key:
        if provider is not None:
            raise UsageError("keys and a function that provides keys are both given; give one of them")
        if token is None and access_key == os.environ.get("AWS_ACCESS_KEY_ID"):
            # Scripts that pass on the environment's keys may not know the session token that belongs to them.
            token = os.environ.get("AWS_SESSION_TOKEN")
        found = FixedCredentials(Keys(access_key, secret_key, token or None))
    elif provider is not None:
        found = ProvidedCredentials(provider)
    else:
        found = ChainCredentials()
    found.keys()
    return found


class _Botocore:
    """What botocore knows; its session is loaded only when it is needed."""

    def __init__(self) -> None:
        self._session: Any = None

    def _load(self) -> Any:
        if self._session is None:
            from mu import aws

            self._session = aws.botocore_session()
        return self._session

    @cached_property
    def _resolver(self) -> Any:
        from botocore.loaders import create_loader
        from botocore.regions import EndpointResolver

        loader = create_loader(self._load().get_config_variable("data_path"))
        return EndpointResolver(loader.load_data("endpoints"))

    def endpoint(self, region: str) -> str:
        from botocore.configprovider import ConfiguredEndpointProvider

        with _explained(f"no Lambda endpoint for region {region}"):
            session = self._load()
            if not session.get_config_variable("ignore_configured_endpoint_urls"):
                configured = ConfiguredEndpointProvider(
                    session.full_config, session.get_scoped_config(), client_name="lambda"
                ).provide()
                if configured:
                    return str(configured)
            found = self._resolver.construct_endpoint(
                "lambda",
                region,
                use_dualstack_endpoint=bool(session.get_config_variable("use_dualstack_endpoint")),
                use_fips_endpoint=bool(session.get_config_variable("use_fips_endpoint")),
            )
        if not found:
            raise UsageError(f"no Lambda endpoint for region {region}; set AWS_ENDPOINT_URL_LAMBDA to it")
        return f"https://{found['hostname']}"

    def ca_bundle_if_loaded(self) -> str | None:
        """Returns the profile's `ca_bundle`, if botocore is loaded; that alone is not worth loading it."""
        return None if self._session is None else self._session.get_config_variable("ca_bundle")


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns botocore's exceptions for a wrong configuration into a UsageError: `what`, and the reason."""
    from mu import aws

    try:
        yield
    except (*aws.ERRORS, OSError, ValueError) as error:
        raise UsageError(f"{what}: {aws.failure(error)}") from None
