#!/bin/sh
# What the head finds of families that it was never shown, and what it owes to the VAE: six short trainings alike in all
# else, on the VAE of the shipped weights, each judged by scripts/validate.py. Half an hour each on two cores; a finished
# one is not run again.
# usage: sh scripts/compare_heads.sh HEALTHY OUT
# HEALTHY as for train_seed.sh. OUT/NAME.txt then holds the figures of each.
set -eu
healthy=$1
out=$2
mkdir -p "$out"
# one thread: planting, in another process, takes what a second would
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

compare() {
    name=$1
    shift
    [ -e "$out/$name/model.json" ] || mood-vae train "$healthy" --out "$out/$name" --preset head-texture --resume \
        --vae mood_vae/weights/heads.safetensors --precision bf16-mixed --device cpu \
        --set heads.0.training.epochs=10 "$@"
    [ -e "$out/$name.txt" ] || {
        python scripts/validate.py "$healthy" "$out/$name/model.json" "$out/$name/cache" --per-family 4 > "$out/$name.part"
        mv "$out/$name.part" "$out/$name.txt"
    }
}

leave_out() {
    name=$1
    shift
    compare "$name" --set "heads.0.training.synthesis.left_out=[$*]"
}

compare all
compare without-vae --set heads.0.model.reconstruction=false
# every family is left out once, together with such as are unlike it
leave_out fold-1 '"noise", "lesion", "copied_patch", "ring_artefact"'
leave_out fold-2 '"blur", "uniform_sphere", "foreign_patch", "spike_artefact"'
leave_out fold-3 '"shuffle", "intensity", "deformation", "missing_slab", "ghost"'
leave_out fold-4 '"hypointense_lesions", "mirrored_patch", "foreign_poisson", "thick_slices", "bias_blob"'
