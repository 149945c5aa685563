"""The coordinator's TLS: connections, listening sockets, keys."""
