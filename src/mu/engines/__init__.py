"""Engines: what starts workers. `protocol` says what one is; each of the other modules is one, or a part of one."""
