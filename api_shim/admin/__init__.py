"""``/admin``: what operators see and change, as JSON. The console shows the same operations."""
