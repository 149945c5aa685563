"""The keys of a job: read from files, or made for this run."""

import os
import secrets
from typing import Any

from mu.console.terminal import say
from mu.errors import UsageError
from mu.server.flags import KEY_VARIABLES


def key_files(info: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Returns the key files by attribute, as flags, the script or the environment name them; None where none is
    named."""
    return {
        name: values.get(name) or getattr(info, name, None) or os.environ.get(variable) or None
        for name, variable in KEY_VARIABLES.items()
    }


def _key_type(info: Any) -> str:
    """Returns the kind of keys to make, `ec` or `rsa`, from the script's `key_type`. Raises UsageError if it is
    another."""
    kind = getattr(info, "key_type", None) or "ec"
    if kind not in ("ec", "rsa"):
        raise UsageError(f"key_type is {kind!r}: it is 'ec' or 'rsa'")
    return str(kind)


def _from_environment(files: dict[str, Any]) -> str:
    """Returns which of these files the environment names, as the end of a message."""
    named = [v for name, v in KEY_VARIABLES.items() if files[name] and files[name] == os.environ.get(v)]
    return f" (the environment has {' and '.join(named)})" if named else ""


def take_keys(info: Any) -> None:
    """Replaces the key attributes, which name files, by the keys; without files, keys are made for this run.

    Raises UsageError if only some of the files are named.
    """
    from mu.tls import keys

    files = key_files(info, {})
    own = [files[name] for name in ("cacert", "srvcrt", "srvkey")]
    workers = [files["worker_cert"], files["worker_key"]]
    if not any(files.values()):
        job = keys.make_job_keys(_key_type(info))
    elif not all(own):
        raise UsageError(
            "a CA certificate, a server certificate and its key go together: give -c, -s and -k"
            + _from_environment(files)
        )
    elif any(workers) and not all(workers):
        raise UsageError("--worker-cert and --worker-key go together" + _from_environment(files))
    else:
        # Keys from files may serve several runs, so each worker's hello names its run.
        info.run_id = secrets.token_hex(8)
        job = keys.load_job_keys(*own, *workers)
        if job.worker_is_server:
            say(
                "warning: the server's own key is sent to the workers; "
                "give them one of their own: --worker-cert FILE --worker-key FILE"
            )
        elif job.worker_may_serve:
            say(
                f"warning: {workers[0]} is good for servers, too, so that a worker could pose as the coordinator: "
                "give workers a certificate for clients only, as 'mu genkeys' makes it"
            )
    info.keys_of_run = not any(files.values())
    info.cacert = job.ca
    info.srvcrt, info.srvkey = job.server.cert, job.server.key
    info.worker_cert, info.worker_key = job.worker.cert, job.worker.key
