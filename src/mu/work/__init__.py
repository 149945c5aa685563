"""What a worker's commands do: processes, S3, files, and the worker's own directory."""
