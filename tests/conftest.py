"""What many tests share."""

from hypothesis import settings

# A machine that stands still for a moment must not fail a test.
settings.register_profile("mu", deadline=None)
settings.load_profile("mu")
