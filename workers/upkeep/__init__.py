"""Upkeep: what was lost is sent again, what is old is removed."""
