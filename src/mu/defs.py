"""Settings that a user's script may change before it starts: read once, at the edge."""


class Defs:
    """Attributes are set on the class: `Defs.max_message = 1 << 20`."""

    debug = False
    """Write what happens to stderr (`-D`)."""

    timeout = 30.0
    """How long `util.connect_socket` waits for a connection, in seconds."""

    max_message = 64 << 20
    """The longest payload, in bytes, that this end accepts; a longer one ends its connection."""
