#!/usr/bin/env bash
# The whole path on small data: train, export as float32 and as INT8, denoise, compare. `make demo` sets up and calls it.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
rm -rf demo

step() { printf '\n== %s\n' "$1"; shift; printf '$'; printf ' %s' "${@##*/bin/}"; printf '\n'; "$@"; }

step "Train on images that are made on the fly: nothing is downloaded" \
  "$BIN/dae-train" synthetic --preset v2 --noise gaussian:40/255 --epochs 4 --steps-per-epoch 80 -o demo/run
step "Export to ONNX in float32" \
  "$BIN/dae-export" demo/run -o demo/denoiser.onnx
step "Export to ONNX in INT8" \
  "$BIN/dae-export" demo/run --quantize -o demo/denoiser-int8.onnx
step "Check that this machine computes what the exporter computed" \
  "$BIN/dae-run" -m demo/denoiser-int8.onnx --self-test
step "Denoise photographs that the network has never seen" \
  "$BIN/dae-run" examples/noisy demo/denoised -m demo/denoiser-int8.onnx --reference examples/clean

cat <<'END'

Pictures to open:
  examples/noisy/camera.png  ->  demo/denoised/camera.png     a photograph before and after
  demo/run/samples.png                                        rows of noisy, denoised, clean
  demo/run/curves.png                                         how the training went
END
