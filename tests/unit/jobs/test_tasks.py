"""Where in the user's own code an error comes from."""

from pathlib import Path

import pytest

import mu
from mu.jobs.tasks import user_place


def test_a_users_file_beside_mus_own_directory() -> None:
    names: dict[str, object] = {}
    file = f"{Path(mu.__file__).parent}job.py"
    exec(compile("def broken():\n    raise ValueError\n", file, "exec"), names)
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - it has no text
        names["broken"]()  # type: ignore[operator]
    assert user_place(raised.value) == "mujob.py:2"
