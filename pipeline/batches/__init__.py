"""Whole sources of pictures, enrolled in the background: what is kept of them."""
