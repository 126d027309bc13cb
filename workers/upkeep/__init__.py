"""Upkeep: resends lost messages and removes old data."""
