"""Both ends of the channel: frames, the message grammar, and connections."""
