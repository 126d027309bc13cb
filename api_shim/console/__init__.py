"""``/console``: the service in a browser, for operators."""
