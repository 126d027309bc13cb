"""Tests of `faceline-client`, without a service."""
