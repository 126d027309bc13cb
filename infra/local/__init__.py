"""The embedded stack: the whole service on one machine with one command."""
