"""What importing the package loads."""

import subprocess
import sys


def test_import_and_command_line_load_no_framework() -> None:
    code = (
        "import sys, dae_train, dae_train.cli\n"
        "heavy = {'tensorflow', 'keras', 'jax', 'matplotlib', 'onnx', 'onnxruntime', 'pyvips'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
