"""A real nginx with the example of ``infra/nginx`` in front of a service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tests.authority import Authority
from tests.programs import find_nginx
from tests.secret_watch import WATCH
from tests.servers import Server, answers

EXAMPLE = Path(__file__).resolve().parents[1] / "infra" / "nginx" / "faceline.conf"

# The frame that a distribution's nginx.conf gives the example.
FRAME = """daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/main.log;
events {{}}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{example}
}}
"""


class NginxServer(Server):
    """Serves ``upstream`` (an address with http) with TLS. ``changed`` are words of the example
    and what stands in their place."""

    name = "nginx"

    def __init__(self, upstream: str, changed: Mapping[str, str] | None = None) -> None:
        self._program = find_nginx()
        super().__init__()
        self.authority = Authority(self.directory)
        certificate = self.authority.issue("127.0.0.1", "localhost")
        example = EXAMPLE.read_text()
        for word, replacement in {
            "server 127.0.0.1:8600": f"server {urlsplit(upstream).netloc}",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "face.example;": "127.0.0.1 localhost;",
            "/etc/nginx/face.example.pem": str(certificate),
            "/etc/nginx/face.example.key": str(certificate),
            "/var/log/nginx": str(self.directory),
            **(changed or {}),
        }.items():
            assert word in example, f"{word} is not in the example"
            example = example.replace(word, replacement)
        self._settings = self.directory / "nginx.conf"
        self._settings.write_text(FRAME.format(folder=self.directory, example=example))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        return [self._program, "-p", self.directory, "-c", self._settings]

    def ready(self) -> bool:
        # Plain HTTP at the port of TLS.
        return answers(self.port, b"GET / HTTP/1.0\r\n\r\n", b"HTTP/1.1 400")

    def logs(self) -> dict[str, str]:
        """What it has written to log files, by their names."""
        return {file.name: file.read_text() for file in self.directory.glob("*.log")}

    def close(self) -> None:
        """Stop it; no log and no temporary file may hold a secret."""
        found = {what for file in self.directory.rglob("*") if file.is_file()
                 for what in WATCH.leaks_in_file(file)}
        super().close()
        assert not found, f"{sorted(found)} in clear in the files of nginx"


BALANCED = """
    upstream faceline {{ {servers} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://faceline; }}
    }}
"""


class BalancingNginx(Server):
    """Serves several upstreams by plain HTTP, with nginx's own defaults and nothing else."""

    name = "nginx"

    def __init__(self, *upstreams: str) -> None:
        self._program = find_nginx()
        super().__init__()
        servers = " ".join(f"server {urlsplit(each).netloc};" for each in upstreams)
        balanced = BALANCED.format(servers=servers, port=self.port)
        self._settings = self.directory / "nginx.conf"
        self._settings.write_text(FRAME.format(folder=self.directory, example=balanced))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it says about calls that fail."""
        return (self.directory / "main.log").read_text()

    def command(self) -> Sequence[str | Path]:
        return [self._program, "-p", self.directory, "-c", self._settings]

    def ready(self) -> bool:
        return answers(self.port, b"GET /livez HTTP/1.0\r\n\r\n", b"HTTP/1.1 ")
