"""Serve the browser example on this machine.

cd examples/browser && npm install && cd ../..
python examples/browser/serve.py --port 8080

The two headers let the page use threads (WebAssembly's shared memory): any server that hosts it should send them.
"""

from __future__ import annotations

import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder."""

    extensions_map: ClassVar[dict[str, str]] = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
    }

    def end_headers(self) -> None:
        """Isolate the page from other origins, which is what browsers ask for shared memory."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    parser.add_argument("--port", type=int, default=8080, help="0 for any that is free")
    options = parser.parse_args()
    if not (options.folder / "node_modules" / "onnxruntime-web").is_dir():
        parser.error(f"onnxruntime-web is missing. Run once: cd {options.folder} && npm install")
    try:
        server = ThreadingHTTPServer(("127.0.0.1", options.port), partial(Handler, directory=str(options.folder)))
    except (OSError, OverflowError) as error:
        parser.exit(2, f"error: port {options.port} cannot be used: {error}. Give another --port.\n")
    with server:
        print(f"http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
