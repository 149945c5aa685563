"""What Lambda's refusal of an Invoke means, by liblaunch's table (meaning.c), for other ways to invoke."""

from mu.launch._liblaunch import lib

# May pass at once, or within minutes; final for this invocation, or for all of the function.
PASSES, SETTLES = int(lib.MU_MEANING_PASSES), int(lib.MU_MEANING_SETTLES)
OWN, FINAL = int(lib.MU_MEANING_OWN), int(lib.MU_MEANING_FINAL)
MOST_TRIES = int(lib.MU_LAUNCH_MAX_ATTEMPTS)  # requests in all while they are refused for what may pass


def meaning(status: int, name: str) -> int:
    """Returns the meaning of an answer with this HTTP status and this name of an error, which may be empty."""
    return int(lib.mu_meaning_of(status, name.encode("utf-8", "replace")))
