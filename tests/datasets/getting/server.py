"""A web server on this machine that misbehaves on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What is served, and how; requests are counted.

    Attributes:
        content: the file.
        ranges: whether parts of it can be asked for.
        cut_after: bytes after which a connection is cut, or None.
        extra_length: bytes announced beyond those there are.
        page: an HTML page sent in place of the file, or None.
        type: content type.
        status: an error to answer with, or None.
        asked: first byte that each request asked for.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.ranges = True
        self.cut_after: int | None = None
        self.extra_length = 0
        self.page: bytes | None = None
        self.type = "application/octet-stream"
        self.status: int | None = None
        self.asked: list[int] = []
        self.url = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.asked.append(start)
        if self.status is not None:
            request.send_error(self.status)
            return
        body = self.content if self.page is None else self.page
        start = start if self.ranges else 0
        if start and start >= len(body):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Type", self.type)
        request.send_header("Content-Length", str(len(body) - start + self.extra_length))
        request.end_headers()
        stop = len(body) if self.cut_after is None else start + self.cut_after
        request.wfile.write(body[start:stop])
        request.close_connection = True


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    """Serve ``content`` at ``Server.url`` + any name."""
    server = Server(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{listener.server_port}/"
        yield server
        listener.shutdown()
        thread.join(5)
