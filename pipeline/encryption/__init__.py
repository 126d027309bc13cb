"""Encryption at rest: master keys, tenants' data keys, and what is encrypted under them."""
