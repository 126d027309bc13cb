"""Keys of an S3 store by every way that AWS's tools know, session tokens, and private authorities,
with a real MinIO."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from minio import MinioAdmin
from minio.credentials.credentials import Credentials
from minio.credentials.providers import AssumeRoleProvider, StaticProvider

from pipeline.config.settings import Settings
from pipeline.errors import MediaUnavailable
from pipeline.media.open import open_media
from tests.authority import Authority
from tests.servers import MinioServer
from tests.waiting import TIMEOUT_S

DATA = b"a picture"
KEY = f"t1/x/{hashlib.sha256(DATA).hexdigest()}"

VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_STS",
    "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY",
)


class RoleService:
    """Gives out one pair of temporary keys, as an AWS machine, a container and STS do."""

    def __init__(self, keys: Credentials) -> None:
        self.keys = keys
        self.ends = datetime.now(UTC) + timedelta(hours=1)
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                if self.path.endswith("/security-credentials/"):
                    body = "a-role"
                else:
                    body = service.as_json()
                self._answer(200, body)

            def do_PUT(self) -> None:
                self._answer(200, "a-token")

            def do_POST(self) -> None:
                service.asked.append(self.path)
                if "WebIdentityToken=of-the-pod" in self.path:
                    self._answer(200, service.as_xml())
                else:
                    self._answer(403, "")

            def _answer(self, status: int, body: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def as_json(self) -> str:
        return json.dumps(
            {
                "Code": "Success", "AccessKeyId": self.keys.access_key,
                "SecretAccessKey": self.keys.secret_key, "Token": self.keys.session_token,
                "Expiration": self._end(),
            }
        )

    def as_xml(self) -> str:
        return (
            "<AssumeRoleWithWebIdentityResponse "
            'xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            "<AssumeRoleWithWebIdentityResult><Credentials>"
            f"<AccessKeyId>{self.keys.access_key}</AccessKeyId>"
            f"<SecretAccessKey>{self.keys.secret_key}</SecretAccessKey>"
            f"<SessionToken>{self.keys.session_token}</SessionToken>"
            f"<Expiration>{self._end()}</Expiration>"
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )

    def _end(self) -> str:
        return self.ends.strftime("%Y-%m-%dT%H:%M:%SZ")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def keys(shared_minio: MinioServer) -> Credentials:
    """Temporary keys with a session token, from MinIO itself, which gives none for a while after it
    has begun to answer."""
    provider = AssumeRoleProvider(
        sts_endpoint=shared_minio.url.removeprefix("s3+"), access_key=shared_minio.access_key,
        secret_key=shared_minio.secret_key, region="us-east-1",
    )
    until = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return provider.retrieve()
        except ValueError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@pytest.fixture
def roles(keys: Credentials) -> Iterator[RoleService]:
    service = RoleService(keys)
    yield service
    service.close()


@pytest.fixture
def url(
    shared_minio: MinioServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    """A bucket of the server; the environment has no keys, and no cloud."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody)
    return shared_minio.bucket("by-roles")


def use(url: str, **settings: object) -> None:
    """Put and get an object."""
    store = open_media(Settings.model_validate({"media_url": url, **settings}))
    store.put(KEY, DATA)
    assert store.get(KEY) == DATA


def test_temporary_keys_of_the_settings(url: str, keys: Credentials) -> None:
    mine = {"media_access_key": keys.access_key, "media_secret_key": keys.secret_key}
    use(url, **mine, media_session_token=keys.session_token)
    for token in ("", "of-nobody"):
        with pytest.raises(MediaUnavailable, match="FACELINE_MEDIA_SESSION_TOKEN"):
            use(url, **mine, media_session_token=token)


@pytest.mark.parametrize("how", ["environment", "minio", "file", "profile"])
def test_keys_that_lie_ready(
    url: str, keys: Credentials, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MediaUnavailable, match="AccessDenied"):
        use(url)
    if how == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys.secret_key)
        monkeypatch.setenv("AWS_SESSION_TOKEN", str(keys.session_token))
    elif how == "minio":
        monkeypatch.setenv("MINIO_ACCESS_KEY", MinioServer.access_key)
        monkeypatch.setenv("MINIO_SECRET_KEY", MinioServer.secret_key)
    else:
        name = "default" if how == "file" else "faces"
        (tmp_path / "credentials").write_text(
            f"[{name}]\naws_access_key_id = {keys.access_key}\n"
            f"aws_secret_access_key = {keys.secret_key}\n"
            f"aws_session_token = {keys.session_token}\n"
        )
        if how == "profile":
            monkeypatch.setenv("AWS_PROFILE", name)
    use(url)


@pytest.mark.parametrize("how", ["machine", "container", "web identity"])
def test_keys_of_a_role(
    url: str, roles: RoleService, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _take_role(roles, how, monkeypatch, tmp_path)
    use(url)
    assert roles.asked
    store = open_media(Settings(media_url=url))
    store.ping()
    asked = len(roles.asked)
    store.ping()
    assert len(roles.asked) == asked  # kept until they expire

    roles.ends = datetime.now(UTC) + timedelta(seconds=5)
    expiring = open_media(Settings(media_url=url))
    expiring.ping()
    asked = len(roles.asked)
    expiring.ping()
    assert len(roles.asked) > asked


def _take_role(
    roles: RoleService, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if how == "machine":
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", roles.url)
    elif how == "container":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{roles.url}/credentials")
    else:
        (tmp_path / "token").write_text("of-the-pod")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", roles.url)


def test_a_role_that_is_not_given_is_said_without_the_token(
    url: str, roles: RoleService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _take_role(roles, "web identity", monkeypatch, tmp_path)
    (tmp_path / "token").write_text("of-somebody-else")

    with pytest.raises(MediaUnavailable, match="no S3 credentials from the web identity") as caught:
        use(url)

    assert "403" in caught.value.message
    assert "somebody" not in caught.value.message


@pytest.mark.parametrize(
    ("policy", "allowed"), [("readonly", False), ("writeonly", False), ("readwrite", True)]
)
def test_what_a_user_may_not_is_found_without_an_object(
    url: str, shared_minio: MinioServer, policy: str, allowed: bool
) -> None:
    admin = MinioAdmin(
        endpoint=shared_minio.url.removeprefix("s3+http://"), secure=False,
        credentials=StaticProvider(shared_minio.access_key, shared_minio.secret_key),
    )
    admin.user_add(policy, "a-long-secret")
    admin.attach_policy([policy], user=policy)
    store = open_media(
        Settings.model_validate(
            {"media_url": url, "media_access_key": policy, "media_secret_key": "a-long-secret"}
        )
    )

    if allowed:
        store.check_access()
    else:
        with pytest.raises(MediaUnavailable, match="get, put, delete and list"):
            store.check_access()

    assert not list(shared_minio.client().list_objects("by-roles", "faceline-probe"))


class TlsMinio(MinioServer):
    """It speaks TLS, with a certificate of ``authority``."""

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self._authority = authority
        self.certs = self.directory / "certs"

    @property
    def url(self) -> str:
        return f"s3+https://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        self.certs.mkdir(exist_ok=True)
        both = self._authority.issue("127.0.0.1").read_text()
        private, start, certificate = both.partition("-----BEGIN CERTIFICATE")
        (self.certs / "private.key").write_text(private)
        (self.certs / "public.crt").write_text(start + certificate)
        return super().command()

    def ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as plain:
                context = self._authority.trusting()
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                    secure.sendall(
                        b"GET /minio/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                    )
                    return secure.recv(12) == b"HTTP/1.1 200"
        except (OSError, ssl.SSLError):
            return False


def test_a_private_authority_is_trusted_when_it_is_named(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    with TlsMinio(authority) as server:
        settings = server.settings(f"{server.url}/secure")
        with pytest.raises(MediaUnavailable, match=r"not trusted .*SSL_CERT_FILE"):
            open_media(Settings.model_validate(settings)).prepare()
        plain = {**settings, "media_url": settings["media_url"].replace("https", "http")}
        with pytest.raises(MediaUnavailable):
            open_media(Settings.model_validate(plain)).ping()

        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        open_media(Settings.model_validate(settings)).prepare()
        use(settings["media_url"], **settings)
