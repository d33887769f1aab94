#!/bin/sh
# Tells Spark which GPUs this machine has (spark.worker.resource.gpu.discoveryScript and its like).
# Without an NVIDIA driver it has none.
gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null) || gpus=
addresses=$(printf '%s' "$gpus" | tr -d ' \r' | sed -n 's/^[0-9][0-9]*$/"&"/p' | paste -sd, -)
printf '{"name": "gpu", "addresses": [%s]}\n' "$addresses"
