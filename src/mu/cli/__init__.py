"""`mu`: one module for each sub-command."""
