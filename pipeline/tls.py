"""Whom this service trusts when it connects by TLS."""

from __future__ import annotations

import ssl

import certifi


def client_tls() -> ssl.SSLContext:
    """A client's side that verifies the server's name and its certificate, against the system's
    authorities, or those in ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``. A system without any gets
    certifi's."""
    context = ssl.create_default_context()
    found = ssl.get_default_verify_paths()
    if not (found.cafile or found.capath):
        context.load_verify_locations(certifi.where())
    return context
