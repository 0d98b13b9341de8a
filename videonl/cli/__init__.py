"""The command line: every command parses its arguments, builds, calls and prints; no logic here."""
