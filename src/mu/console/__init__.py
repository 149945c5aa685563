"""The command line and the terminal: arguments, output, and limits of the operating system."""
