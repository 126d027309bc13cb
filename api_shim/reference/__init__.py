"""The description of the web API for machines: OpenAPI, and a page made from it."""
