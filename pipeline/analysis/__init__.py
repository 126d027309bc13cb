"""Analysing pictures: finding, checking and embedding their faces."""
