"""Verification of signatures."""
