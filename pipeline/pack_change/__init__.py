"""Changing the recognition pack: faces embedded again by another one, and what that changes."""
