"""Signing in at a company's identity provider."""
