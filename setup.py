"""What pyproject.toml cannot say: which extension cffi builds, for which Pythons the wheel is, and which folders of the
source tree come with it as `mu/_share` (mu.console.share finds them)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHARED = {
    "bin": ("genkeys.sh", "lambdaize.sh"),  # the others are for the source tree
    "examples": ("*.py", "*.sh"),
    "tools/png2y4m": ("Makefile", "README.md", "*.[ch]"),
}


class BuildWithShared(build_py):
    """Copies those folders beside the modules. An editable install has them in the source tree."""

    def run(self) -> None:
        """The command."""
        super().run()
        if self.editable_mode:
            return
        for folder, patterns in SHARED.items():
            target = Path(self.build_lib, "mu", "_share", folder)
            target.mkdir(parents=True, exist_ok=True)
            for pattern in patterns:
                for path in sorted(Path(folder).glob(pattern)):
                    shutil.copy(path, target)


setup(
    cffi_modules=["src/mu/launch/build.py:ffibuilder"],
    cmdclass={"build_py": BuildWithShared},
    # The extension keeps to the stable ABI of the oldest Python that mu runs on, so newer ones take the same wheel.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
