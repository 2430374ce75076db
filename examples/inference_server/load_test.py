"""Ask a running service from many clients at once, and print how long they wait.

python examples/inference_server/app.py --port 8000 &
python examples/inference_server/load_test.py http://127.0.0.1:8000 noisy.png --clients 8 --seconds 10
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import click
import numpy as np


@click.command()
@click.argument("address")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--clients", default=8, show_default=True, type=click.IntRange(1, 1000))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(0.1))
def main(address: str, image: Path, clients: int, seconds: float) -> None:
    """Send IMAGE to ADDRESS again and again; each client waits for its answer before it asks again."""
    body, place = image.read_bytes(), urlsplit(address).netloc
    try:
        with contextlib.closing(http.client.HTTPConnection(place, timeout=5)) as first:
            first.connect()
    except (OSError, http.client.InvalidURL) as error:
        click.echo(f"error: nothing answers at {address}: {error}. Give an address such as http://127.0.0.1:8000.", err=True)
        sys.exit(2)
    statuses: collections.Counter[int] = collections.Counter()
    times_s: list[float] = []
    begin = last = time.monotonic()
    end = begin + seconds

    def ask() -> None:
        nonlocal last
        connection = http.client.HTTPConnection(place, timeout=60)
        while time.monotonic() < end:
            start = time.monotonic()
            connection.request("POST", "/denoise", body)
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
            answered = last = time.monotonic()
            if response.status == 200:
                times_s.append(answered - start)
            else:
                time.sleep(float(response.getheader("Retry-After") or 1))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
    taken_s = max(seconds, last - begin)  # what was asked before the end is answered after it
    click.echo(f"{clients} clients, {len(times_s) / taken_s:.1f} images a second; {answers}")
    if times_s:
        p50, p99 = np.quantile(times_s, [0.5, 0.99]) * 1000
        click.echo(f"p50 {p50:.0f} ms, p99 {p99:.0f} ms")


if __name__ == "__main__":
    main()
