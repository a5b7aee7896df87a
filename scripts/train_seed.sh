#!/bin/sh
# The recipe of the shipped weights mood_vae/weights/seed.*: healthy volumes in, RUN/model.safetensors and model.json out.
# usage: sh scripts/train_seed.sh HEALTHY RUN [further arguments of `mood-vae train`, such as --resume]
# HEALTHY holds 54 volumes of OpenNeuro ds002748 (00000-00053) and 40 of IXI (00054-00093), named as in the model's JSON.
set -eu
healthy=$1
run=$2
shift 2
exec mood-vae train "$healthy" --out "$run" --preset seed --precision bf16-mixed --device cpu "$@"
