"""Batches over HTTP: paths, reading requests, replies."""
