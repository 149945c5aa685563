"""The names of a file of this machine, by which two paths are known to lead to the same file."""

import os
from functools import lru_cache

from mu.mapping.inputs import is_s3

LONGEST_PATH = 4095  # bytes of a path that the system takes
REMEMBERED = 1024  # directories whose links are not followed again


class Paths:
    """Returns the names of files. A directory's links are followed once for all files in it."""

    def __init__(self) -> None:
        self._directories = lru_cache(REMEMBERED)(_directories)

    def names(self, path: str, *, follow: bool = True) -> set[str]:
        """Returns a file's absolute path, the one without links to directories, and if the file is a link, the path of
        the file that it leads to. Without `follow` it may be a link: what is written there replaces it. An object, and
        a text that can be no path, have only that text as name."""
        if is_s3(path) or len(path) > LONGEST_PATH:
            return {path}
        head, slash, last = path.rpartition("/")
        if last in ("", ".", ".."):
            head, last = path, ""
        try:
            found = {directory + last for directory in self._directories(head or slash or ".")}
            if follow and os.path.islink(path):  # noqa: PTH114 - a text
                found.add(os.path.realpath(path))
        except ValueError:  # it has a NUL byte, or characters that no path has
            return {path}
        return found


def _directories(path: str) -> set[str]:
    """Returns a directory as it is written and without links, with a slash at the end."""
    return {f"{way(path).rstrip('/')}/" for way in (os.path.abspath, os.path.realpath)}
