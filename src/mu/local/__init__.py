"""Lambda and S3 on this machine, with the same APIs as the real services.

`mu.local.engine.LocalEngine` is the whole engine as a context manager; `mu local` is its command line. Workers and
coordinators import nothing from here.
"""
