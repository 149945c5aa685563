"""The coordinator's TLS: connections, listening sockets, and keys."""
