"""The relay, by which workers send messages to each other."""
