"""The version of mu, in one place: pyproject.toml reads it here. `importlib.metadata` would find it, too, but its
import takes longer than all else that `mu --version` does."""

VERSION = "0.1.0"
