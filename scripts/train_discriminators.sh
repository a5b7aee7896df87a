#!/bin/sh
# Trains the preset `discriminators` in one go: a VAE and the two discriminators on it, from healthy volumes alone. About
# 8 hours on two cores with bf16 instructions, an estimate: it was run to its end at a tenth of its length alone
# (EXPERIMENTS.md, entry 28).
# The shipped weights mood_vae/weights/discriminators.* have the same networks, anomaly types and losses, but were trained
# in several rounds, each from the weights of the one before; EXPERIMENTS.md, entries 4 to 26, has their epochs and
# learning rates, their JSON the last round of each.
# usage: sh scripts/train_discriminators.sh HEALTHY RUN [further arguments of `mood-vae train`, such as --resume]
# HEALTHY: a folder of healthy volumes; for the shipped weights, all 208 that MODEL_CARD.md lists
set -eu
healthy=$1
run=$2
shift 2
# inserting works on small arrays, for which more threads only get in each other's way
export OPENBLAS_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1
# glibc hands large arrays back to the system and asks for them anew at each step, a quarter of the step, unless told not to
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000
exec mood-vae train "$healthy" --out "$run" --preset discriminators --precision auto --device cpu "$@"
