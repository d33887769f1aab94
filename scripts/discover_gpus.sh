#!/bin/sh
# Lists the GPUs of this machine for Spark (spark.*.resource.gpu.discoveryScript). Without an NVIDIA
# driver the list is empty.
gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null) || gpus=
addresses=$(printf '%s' "$gpus" | tr -d ' \r' | sed -n 's/^[0-9][0-9]*$/"&"/p' | paste -sd, -)
printf '{"name": "gpu", "addresses": [%s]}\n' "$addresses"
