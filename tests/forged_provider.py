"""An identity provider on this machine that answers what a test wants, right or wrong."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.secret_watch import WATCH

CLIENT = "faceline"
SECRET = base64.b64encode(hashlib.sha256(b"the client's").digest()).decode()
CODE = "one-code"


@functools.cache
def key_of(owner: str, name: str) -> RSAKey:
    """A key for signatures; making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, auto_kid=False)


class ForgedProvider:
    """``claims`` are those of the next ID token beside the right ones, without those that are
    None; ``user`` those of the user information. ``metadata`` replaces parts of the discovery
    document. ``algorithm`` ``none`` and ``HS256`` make tokens that nobody may believe."""

    def __init__(self) -> None:
        WATCH.note("a client's secret", SECRET)
        self.reset()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def reset(self) -> None:
        """An honest provider again, which has only `preferred_username` to tell."""
        self.key = key_of("provider", "first")
        self.published = [self.key]
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {"preferred_username": "ann"}
        self.user: dict[str, Any] | None = None
        self.metadata: dict[str, Any] = {}
        self.status = 200
        self.asked: list[str] = []
        self.begun: dict[str, Mapping[str, str]] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def authorize(self, url: str) -> dict[str, str]:
        """Takes the browser's request; what it brings back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert url.startswith(f"{self.issuer}/authorize?")
        assert (asked["client_id"], asked["response_type"]) == (CLIENT, "code")
        assert asked["code_challenge_method"] == "S256"
        self.begun[CODE] = asked
        return {"code": CODE, "state": asked["state"]}

    def _token(self, form: Mapping[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        asked = self.begun.pop(form.get("code", ""), None)
        proof = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(proof).rstrip(b"=").decode()
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if asked is None or asked["code_challenge"] != challenge:
            return 400, {"error": "invalid_grant"}
        if authorization != f"Basic {basic}" or form["redirect_uri"] != asked["redirect_uri"]:
            return 401, {"error": "invalid_client"}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "17", "aud": CLIENT, "exp": now + 300, "iat": now,
            "nonce": asked["nonce"], **self.claims,
        }
        told = {name: value for name, value in claims.items() if value is not None}
        return 200, {
            "access_token": "an-access-token", "token_type": "Bearer",
            "id_token": self._signed(told),
        }

    def _signed(self, claims: dict[str, Any]) -> str:
        header = {"alg": self.algorithm, "kid": self.key.kid}
        if self.algorithm == "RS256":
            return jwt.encode(header, claims, self.key)
        encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()) for each in (header, claims)]
        text = ".".join(each.rstrip(b"=").decode() for each in encoded)
        signature = b""
        if self.algorithm == "HS256":  # with the public key as the shared secret
            signature = hmac.digest(self.key.as_pem(private=False), text.encode(), "sha256")
        return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    def _answer(self, path: str, form: Mapping[str, str], authorization: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.status != 200:
            return self.status, {}
        if path == "/.well-known/openid-configuration":
            urls = {
                f"{name}_endpoint": f"{self.issuer}/{name}"
                for name in ("token", "userinfo")
            }
            return 200, {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
                "jwks_uri": f"{self.issuer}/keys", **urls, **self.metadata,
            }
        if path == "/keys":
            return 200, {"keys": [each.as_dict(private=False) for each in self.published]}
        if path == "/token":
            return self._token(form, authorization)
        if path == "/userinfo" and authorization == "Bearer an-access-token":
            return 200, {"sub": "17", **(self.user or {})}
        return 404, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({})

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._reply({name: values[0] for name, values in parse_qs(sent).items()})

            def _reply(self, form: Mapping[str, str]) -> None:
                status, content = provider._answer(
                    self.path, form, self.headers.get("Authorization", "")
                )
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
