"""Lets `python -m mu` do what the command `mu` does."""

import sys

from mu.cli.main import main

sys.exit(main())
