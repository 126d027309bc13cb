"""A receiver of webhooks that prints what has ended.

    WEBHOOK_SECRET=whsec_... python receive_webhooks.py 8700

The operator names its URL: `faceline webhooks add APP URL`, and hands over the secret.
"""

from __future__ import annotations

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from faceline_client import BatchEnded, JobEnded, WebhookRefused, verify_webhook

LARGEST = 64 * 1024  # bytes of an event


class Receiver(BaseHTTPRequestHandler):
    """Answers at once; a real receiver puts the event into a queue, once for each id."""

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if size > LARGEST:
            self.send_error(413)
            return
        body = self.rfile.read(size)
        try:
            event = verify_webhook(os.environ["WEBHOOK_SECRET"], dict(self.headers), body)
        except WebhookRefused as error:
            self.send_error(400, str(error))
            return
        self.send_response(204)
        self.end_headers()
        if isinstance(event.data, JobEnded):
            print(f"job {event.data.job_id}: {event.data.operation} {event.data.status}")
        elif isinstance(event.data, BatchEnded):
            print(f"batch {event.data.batch_id}: {event.data.enrolled} enrolled")
        else:
            print(event.type)
        sys.stdout.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        """Nothing: URLs of receivers hold secrets."""


def main(port: str) -> None:
    server = HTTPServer(("127.0.0.1", int(port)), Receiver)
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
