"""Liveness of a clip: whether it shows a live person who performs the requested action."""
