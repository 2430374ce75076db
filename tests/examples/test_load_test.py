"""The load test of the inference server, against a service that is slow."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

LOAD_TEST = Path(__file__).parents[2] / "examples" / "inference_server" / "load_test.py"


class Slow(http.server.BaseHTTPRequestHandler):
    """Answers after two seconds."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(2)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_images_a_second_count_the_time_until_the_last_answer(tmp_path):
    """The only answer takes twice as long as the test shall."""
    (tmp_path / "a.png").write_bytes(b"an image")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        line = [sys.executable, str(LOAD_TEST), f"http://127.0.0.1:{server.server_port}", str(tmp_path / "a.png")]
        done = subprocess.run([*line, "--clients", "1", "--seconds", "1"], capture_output=True, text=True)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    rate = re.search(r"1 clients, ([\d.]+) images a second; 1 times 200", done.stdout)
    assert rate, done.stdout
    assert float(rate[1]) <= 0.5
