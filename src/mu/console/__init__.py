"""The command line and the terminal: arguments, output, limits of the system."""
