"""Decoding hostile bytes in a process that can do nothing else."""
