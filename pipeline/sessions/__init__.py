"""Finds, verifies, downloads and runs model packs. Only this package uses model libraries."""
