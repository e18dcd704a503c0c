"""The programs people call: one module a command."""
