"""Batches: whole sources of pictures that are enrolled in the background."""
