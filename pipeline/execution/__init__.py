"""Carrying out a job: what travels through its stages, and how each operation ends."""
