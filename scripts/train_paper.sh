#!/bin/sh
# Trains the preset `paper` on healthy volumes, as the shipped weights mood_vae/weights/paper.* were trained:
# RUN/model.safetensors and RUN/model.json. About 45 minutes on two cores with bf16 instructions, which the shipped
# weights had too; other precisions end at slightly other weights.
# usage: sh scripts/train_paper.sh HEALTHY RUN [further arguments of `mood-vae train`, such as --resume]
# HEALTHY: 54 volumes of OpenNeuro ds002748 (00000-00053) and 40 of IXI (00054-00093), named as in the weights' JSON
set -eu
healthy=$1
run=$2
shift 2
exec mood-vae train "$healthy" --out "$run" --preset paper --precision auto --device cpu "$@"
