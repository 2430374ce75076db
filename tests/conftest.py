"""For all tests: no telemetry of onnxruntime, which some of them import themselves, and signals as a terminal gives them."""

import os
import signal

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A shell without job control starts background commands with SIGINT ignored, and children inherit that: the tests that
# interrupt a process would then interrupt nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)
