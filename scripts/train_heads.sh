#!/bin/sh
# The recipe of the shipped weights mood_vae/weights/heads.*: a VAE and the two heads on it, from healthy volumes alone.
# usage: sh scripts/train_heads.sh HEALTHY RUN [further arguments of `mood-vae train`, such as --resume]
# HEALTHY as for train_seed.sh.
set -eu
healthy=$1
run=$2
shift 2
# planting works on small arrays, for which more threads only get in each other's way
export OPENBLAS_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1
# glibc hands large arrays back to the system and asks for them anew at each step, a quarter of the step, unless told not to
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000
exec mood-vae train "$healthy" --out "$run" --preset heads --precision bf16-mixed --device cpu "$@"
