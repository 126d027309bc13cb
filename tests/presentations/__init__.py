"""Presentations to try liveness on: genuine clips, and attacks by kinds.

An attack is drawn from axes: what is done (``manipulations``), how it moves (``motions``), what it
is made of and shown on (``people``, ``media``), and the camera that films it (``cameras``).
"""
