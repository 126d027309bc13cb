"""Tenants, their credentials, and what either may do."""
