"""Messages between the executor and a fork server: two 32-bit big-endian lengths, a JSON head, and a body.

This file is loaded by path into the fork server, so it may import only the standard library.
"""

import json
import struct
from typing import Any

LENGTHS = struct.Struct(">II")


def pack(head: dict[str, Any], body: bytes = b"") -> bytes:
    """Returns one message as bytes."""
    text = json.dumps(head).encode()
    return LENGTHS.pack(len(text), len(body)) + text + body


def take(buffer: bytearray) -> list[tuple[dict[str, Any], bytes]]:
    """Removes the complete messages from the front of `buffer`, and returns them."""
    messages = []
    start = 0
    while len(buffer) - start >= LENGTHS.size:
        head, body = LENGTHS.unpack_from(buffer, start)
        middle = start + LENGTHS.size + head
        end = middle + body
        if len(buffer) < end:
            break
        messages.append((json.loads(buffer[start + LENGTHS.size : middle]), bytes(buffer[middle:end])))
        start = end
    del buffer[:start]
    return messages
