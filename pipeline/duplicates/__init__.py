"""Finds one person under two names, and two people under one name, among vectors."""
