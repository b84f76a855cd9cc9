"""A local chat endpoint over real HTTP for tests: what it answers, request by request, is a script."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text: str, finish: str = "stop", usage: tuple[int, int] = (1000, 50)) -> dict:
    """The body of a good answer."""
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]},
    }


class Server:
    """Counts what it is asked; ``answer(number, request)`` returns (status, headers, body).

    ``body`` is JSON-able or bytes; a list of (seconds, bytes) is sent piece by piece; None hangs up without an answer.
    Where status is None the pieces are all that is sent, status line and headers included.
    """

    def __init__(self, answer, port=0):
        self.answer, self.requests, self.headers, self.times = answer, [], [], []
        self._lock = threading.Lock()
        self.running = self.most_at_once = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.serve(self)

            def do_GET(self):
                self.send_response(outer.get(self.path, self.headers))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.http.server_port}/v1"

    def get(self, path: str, headers) -> int:
        """The status for a GET request."""
        return 404

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        request = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append({"path": handler.path, **request})
            self.headers.append(dict(handler.headers))
            self.times.append(time.monotonic())
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
        try:
            answered = self.answer(number, self.requests[number])
        finally:
            with self._lock:
                self.running -= 1
        if answered is None:
            return
        status, headers, body = answered
        pieces = (
            body if isinstance(body, list) else [(0, body if isinstance(body, bytes) else json.dumps(body).encode())]
        )
        with contextlib.suppress(OSError):  # the client may have given up
            if status is not None:
                handler.send_response(status)
                for name, value in headers.items():
                    handler.send_header(name, value)
                handler.send_header("Content-Length", str(sum(len(piece) for _, piece in pieces)))
                handler.end_headers()
            for wait, piece in pieces:
                time.sleep(wait)
                handler.wfile.write(piece)
                handler.wfile.flush()


@contextlib.contextmanager
def chat_server(answer):
    """Run a ``Server`` on a free port for the length of a ``with`` block."""
    server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
