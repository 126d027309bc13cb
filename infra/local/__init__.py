"""The embedded stack: everything of the service on one machine, under one command."""
