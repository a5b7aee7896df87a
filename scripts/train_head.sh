#!/bin/sh
# The recipe of the shipped weights mood_vae/weights/head.*: a head on the shipped VAE, from healthy volumes alone.
# usage: sh scripts/train_head.sh HEALTHY RUN [further arguments of `mood-vae train`, such as --resume]
# HEALTHY as for train_seed.sh; the VAE is mood_vae/weights/seed.* and stays as it is.
set -eu
healthy=$1
run=$2
shift 2
weights=$(dirname "$0")/../mood_vae/weights/seed.safetensors
exec mood-vae train "$healthy" --out "$run" --preset head --vae "$weights" --precision bf16-mixed --device cpu "$@"
