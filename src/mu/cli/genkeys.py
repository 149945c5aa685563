"""`mu genkeys`: writes the keys of a job as PEM files."""

import argparse
import os
from pathlib import Path

from mu.tls.keys import write_job_key_files

DESCRIPTION = """\
Make the keys of a job, as PEM files in the current directory: a CA, two pairs for servers (the second is
the relay's) and one for workers. Private keys are readable by their owner only; existing files are never
overwritten. Without key files a coordinator makes keys of its own for each run; files are for when the same
keys must serve several programs.

example:
  mu genkeys
  examples/png2y4m_server.py -c ca_cert.pem -s server_cert.pem -k server_key.pem \\
      --worker-cert worker_cert.pem --worker-key worker_key.pem -n 5 -l FUNCTION -b BUCKET
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the flag of `mu genkeys`."""
    parser.add_argument(
        "--rsa",
        action="store_true",
        default=os.environ.get("RSA", "") not in ("", "0"),
        help="RSA keys, for workers and coordinators of the original; others are elliptic (or $RSA=1)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the files to the current directory, and prints their names; returns the exit status."""
    for path in write_job_key_files(Path(), "rsa" if args.rsa else "ec"):
        print(path)  # noqa: T201
    return 0
