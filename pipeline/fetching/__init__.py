"""Fetching pictures from the internet, and only from there."""
