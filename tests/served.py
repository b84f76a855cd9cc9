"""A judge served over real HTTP for tests, and a client that sends what it is told to."""

import base64
import contextlib
import http.client
import io
import json
import threading
import time

import numpy as np
from PIL import Image

from depictqa_core.serving import process
from depictqa_core.serving.app import build_app

JSON = {"Content-Type": "application/json"}


class Served:
    """A running server; ``stop`` ends it as SIGTERM does."""

    def __init__(self, app, key=None, grace=20, port=0):
        listening = process.bound(process.Address(port=port), key)
        self.port = listening.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}/v1"
        self._server = process.server(app, grace)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]}, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def send(self, method, path, body=None, headers=None, timeout=60):
        """Send one request: (status, headers, body as text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def post(self, path, document, **headers):
        """Post JSON: (status, document)."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, text = self.send("POST", path, json.dumps(document), {**JSON, **names})
        return status, json.loads(text)

    def stop(self):
        self._server.should_exit = True

    def join(self):
        self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(judge, limits=None, key=None, app=None):
    """Serve a judge, or an application that is built already, on a free port for the length of a ``with`` block."""
    server = Served(app or build_app(judge, limits, key), key)
    try:
        yield server
    finally:
        server.join()


def png(level=128, side=24):
    """A grey PNG."""
    file = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def url_of(content):
    """A data URL of an image file."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
