"""The console and ``/admin``, by HTTP and in a browser."""
