"""Detecting, checking and embedding the faces of many pictures at once."""
