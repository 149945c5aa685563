"""Every word of the message grammar, once."""

# How messages begin that are for the coordinator's books and for no state; sent if the event has `tell_sizes`.
ACCOUNT = "INFO:mu."


# What a state waits for after a command, unless it says otherwise: a prefix that the answers in
# background mode share. Commands that are not here: `OK`.
EXPECTED = {
    "set": "OK:SET",
    "seti": "OK:SETI",
    "get": "OK:GET",
    "geti": "OK:GETI",
    "dump_vals": "OK:DUMP_VALS",
    "retrieve": "OK:RETRIEV",
    "upload": "OK:UPLOAD",
    "echo": "OK:ECHO",
    "run": "OK:R",
    "connect": "OK:CONNECT",
    "close_connect": "OK:CLOSE_CONNECT",
}


def expected_response(command: str | None) -> str:
    """How the answer to a command begins, if it succeeds."""
    return EXPECTED.get((command or "").partition(":")[0], "OK")


def spread(key: str) -> str:
    """`HHHH-KEY`: keys that begin alike go to different partitions of S3."""
    import hashlib

    name = key.rpartition("/")[2].encode("utf-8", "surrogateescape")
    return f"{hashlib.md5(name, usedforsecurity=False).hexdigest()[:4]}-{key}"
