"""Tenants, their credentials, and the permissions of both."""
