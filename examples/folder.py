"""Denoise a folder as `dae-run noisy/ clean/ -r` does, from a program of your own.

python examples/folder.py model.onnx noisy/ clean/

Interrupt it, and start it again: it goes on where it was.
"""

import sys
import threading

from dae_runtime import DaeError, Denoiser, FolderRequest, run_folder

stop = threading.Event()  # set it, in any thread, to end the run early: no file is left half written


def main(model: str, source: str, output: str) -> None:
    """Denoise what is not done yet."""
    request = FolderRequest(source, output, recursive=True)  # plain data: may be sent to another process
    with Denoiser(model, threads=1) as denoiser:  # of one thread: as many images at once as there are CPUs
        outcome = run_folder(request, denoiser, progress=show, cancel=stop.is_set)
    print(f"{outcome.done} done, {outcome.skipped} done before, {outcome.failed} failed in {outcome.seconds:.1f} s")
    for failure in outcome.failures:
        print(f"failed: {failure.reason}")


def show(finished: int, total: int) -> None:
    """Show how far the run is."""
    print(f"{finished} of {total}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (DaeError, OSError) as error:  # a wrong path, say
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
