"""The relay, through which workers send messages to each other."""
