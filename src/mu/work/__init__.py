"""The worker's hands: processes, S3, files, its own directory."""
