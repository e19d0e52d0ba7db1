"""The command line: thin, fast, and unable to do what the API cannot. Each command is a module loaded by name."""
