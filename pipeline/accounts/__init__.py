"""Tenants, their credentials, and the fingerprints that recognise keys."""
