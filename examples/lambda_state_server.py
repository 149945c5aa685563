#!/usr/bin/env python3
"""The relay that xcenc_server.py's workers hand their states on by: the same as `mu state-server`.

A coordinator whose keys are made for its run brings a relay of its own. With keys from files, this one is started
before it, on a machine that the workers can reach: see docs/xc-enc.md.
"""

import sys

from mu.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["state-server", *sys.argv[1:]]))
