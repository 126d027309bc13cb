"""Cryptography of signatures that no package offers."""
