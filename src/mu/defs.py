"""Settings that a user's script may change before it starts anything of mu."""


class Defs:
    """The attributes are set on the class: `Defs.max_message = 1 << 20`."""

    debug = False
    """Whether debug messages are written to standard error (`-D`)."""

    timeout = 30.0
    """How long, in seconds, `util.connect_socket` waits for a connection."""

    max_message = 64 << 20
    """The longest payload, in bytes, that this end accepts; a longer one ends its connection."""
