"""Webhooks: telling an application's own server that a job or a batch has ended."""
