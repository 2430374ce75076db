#!/bin/sh
# Several processes on one machine, each with a share of the files: xargs.sh IN OUT SHARDS. One process uses all CPUs by itself, so
# this is for several GPUs (DEVICE=cuda gives each process its own), or, with ssh HOST before dae-run, for machines that share a disk.
set -eu
export IN="$1" OUT="$2" SHARDS="$3"

status=0
seq "$SHARDS" | xargs -P "$SHARDS" -I '{}' sh -c \
  'exec dae-run "$IN" "$OUT" --recursive --shard "{}/$SHARDS" ${DEVICE:+--device "$DEVICE:$(({} - 1))"}' || status=$?
dae-run --merge-manifests "$OUT"
exit "$status"
