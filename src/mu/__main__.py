"""`python -m mu` is `mu`."""

import sys

from mu.cli import main

sys.exit(main())
