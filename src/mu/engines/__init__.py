"""Engines: they start workers.

`protocol` defines what an engine is. `aws_lambda`, `here`, `ssh`, `slurm` and `microvm` are one engine each,
`several` combines engines into one, and `by_name` makes them from the names that `-e` takes.
"""
