"""`python -m mu` is `mu`."""

import sys

from mu.cli.main import main

sys.exit(main())
