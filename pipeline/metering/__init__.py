"""Limits, permissions and usage of applications."""
