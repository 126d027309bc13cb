"""The ``faceline`` command: one file for each group of commands."""
