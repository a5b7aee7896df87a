#!/bin/sh
# Trains the preset `paper` on healthy volumes, the recipe of the shipped weights mood_vae/weights/paper.*: gives
# RUN/model.safetensors and RUN/model.json, in about 45 minutes on two cores with bf16 instructions. The shipped weights
# were trained in bf16-mixed, which `auto` takes where the processor has it; in float32 they end a little elsewhere.
# usage: sh scripts/train_paper.sh HEALTHY RUN [further arguments of `mood-vae train`, such as --resume]
# HEALTHY: 54 volumes of OpenNeuro ds002748 (00000-00053) and 40 of IXI (00054-00093), named as in the weights' JSON
set -eu
healthy=$1
run=$2
shift 2
exec mood-vae train "$healthy" --out "$run" --preset paper --precision auto --device cpu "$@"
