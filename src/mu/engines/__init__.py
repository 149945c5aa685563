"""Engines: what starts workers.

`protocol` says what an engine is; `aws_lambda`, `here`, `ssh`, `slurm` and `microvm` are one each, `several` is one
made of others, and `by_name` finds them by what `-e` says.
"""
