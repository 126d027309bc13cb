"""Decodes untrusted bytes in confined processes."""
