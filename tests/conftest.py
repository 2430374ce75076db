"""For all tests: onnxruntime, which some of them import themselves, must not report to its maker."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
