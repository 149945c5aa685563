#!/usr/bin/env python3
"""Where the original's README has it: examples/png2y4m_server.py."""

import runpy
from pathlib import Path

runpy.run_path(
    str(Path(__file__).resolve().parents[2] / "examples" / "png2y4m_server.py"), run_name="__main__"
)
