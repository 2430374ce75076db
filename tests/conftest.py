"""For all tests: no telemetry of onnxruntime, which some import themselves, signals as a terminal gives them, and patience."""

import os
import signal

from hypothesis import HealthCheck, settings

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as dae-export sets it: the same kernels on every processor

# A shell without job control starts background commands with SIGINT ignored, and children inherit that: the tests that
# interrupt a process would then interrupt nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a loaded machine examples take long to make, which is no fault of a test.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
