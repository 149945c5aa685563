"""Where to send invocations, and as whom: keys, endpoints, and the bundle of trusted certificates.

What the caller says counts first, then what botocore finds (the environment, profiles, SSO, roles, its table of
partitions and regions). botocore takes 0.2 s and 25 MB to import, so it is only imported when
it is needed.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mu.errors import UsageError, reason

_REGION = re.compile(r"[A-Za-z0-9-]{1,63}")


@dataclass(frozen=True)
class Service:
    """Everything about AWS that a launch needs; its repr shows no secret."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(repr=False)
    endpoints: dict[str, str]
    """The URL of Lambda in each region."""
    ca_bundle: str | None
    """A file of PEM certificates; None: the system's."""


def resolve(
    regions: Iterable[str],
    access_key: str | None = None,
    secret_key: str | None = None,
    *,
    session_token: str | None = None,
    endpoint_url: str | None = None,
    ca_bundle: str | None = None,
) -> Service:
    """Fill in what is None. UsageError, one line, if there are no credentials or a region has no endpoint."""
    botocore = _Botocore()
    if bool(access_key) != bool(secret_key):
        raise UsageError("an access key id and a secret access key go together; only one of them is given")
    if access_key and secret_key:
        if session_token is None and access_key == os.environ.get("AWS_ACCESS_KEY_ID"):
            # Scripts that hand on the environment's keys know nothing of the third that belongs to them.
            session_token = os.environ.get("AWS_SESSION_TOKEN") or None
    else:
        access_key, secret_key, session_token = botocore.credentials()
    endpoints = {}
    for region in regions:
        if not isinstance(region, str) or not _REGION.fullmatch(region):
            raise UsageError(f"{region!r} is no region; regions are names like us-east-1")
        endpoints[region] = endpoint_url or botocore.endpoint(region)
    bundle = ca_bundle or os.environ.get("AWS_CA_BUNDLE") or botocore.ca_bundle_if_loaded()
    if bundle is not None and not Path(bundle).is_file():
        raise UsageError(f"cannot read the CA bundle {bundle}; give a file of PEM certificates")
    return Service(access_key, secret_key, session_token or None, endpoints, bundle)


class _Botocore:
    """botocore's session, made when first asked for something."""

    def __init__(self) -> None:
        self._session: Any = None

    def _load(self) -> Any:
        if self._session is None:
            from botocore.session import Session

            self._session = Session()
        return self._session

    @cached_property
    def _resolver(self) -> Any:
        from botocore.loaders import create_loader
        from botocore.regions import EndpointResolver

        loader = create_loader(self._load().get_config_variable("data_path"))
        return EndpointResolver(loader.load_data("endpoints"))

    def credentials(self) -> tuple[str, str, str | None]:
        with _explained("cannot get AWS credentials"):
            found = self._load().get_credentials()
            keys = found.get_frozen_credentials() if found is not None else None
        if keys is None or not keys.access_key or not keys.secret_key:
            raise UsageError(
                "no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
                "or run 'aws configure'"
            )
        return keys.access_key, keys.secret_key, keys.token

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
        """The profile's `ca_bundle`; not worth loading botocore for when the caller has named the rest."""
        return None if self._session is None else self._session.get_config_variable("ca_bundle")


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what botocore raises over a configuration or an answer that is wrong into a UsageError: `what`, and why."""
    try:
        yield
    except Exception as error:
        from mu import aws

        if isinstance(error, OSError) and error.filename:
            said = f"{reason(error)}: {error.filename}"  # a credential_process
        elif isinstance(error, OSError | ValueError):
            said = reason(error)
        elif isinstance(error, aws.ERRORS):
            said = aws.failure(error)
        else:
            raise
        raise UsageError(f"{what}: {said}") from None
