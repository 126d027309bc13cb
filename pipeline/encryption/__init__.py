"""Encryption at rest: master keys, tenants' data keys, and the data encrypted under them."""
