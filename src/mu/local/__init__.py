"""Lambda and S3 on this machine, behind the same APIs as the real ones.

`mu.local.engine.LocalEngine` is the whole engine as a context manager; `mu local` is its command line.
Nothing here is imported by a worker or by a coordinator.
"""
