#!/bin/sh
# What a head finds of families that it was never shown, and what it owes to the VAE: six short trainings alike in all
# else, on the VAE of the shipped weights, each judged by scripts/validate.py. Half an hour each on two cores; a finished
# one is not run again.
# usage: sh scripts/compare_heads.sh HEALTHY OUT [NAME ...]
# HEALTHY as for train_seed.sh. NAME: all, without-vae, fold-1 to fold-4; every one if none is given. OUT/NAME.txt then
# holds the figures of each.
set -eu
healthy=$1
out=$2
shift 2
mkdir -p "$out"
# one thread: planting, in another process, takes what a second would
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

# every family is left out in one fold, together with such as are unlike it
setting() {
    case $1 in
    all) echo heads.0.training.epochs=10 ;; # as they all are
    without-vae) echo heads.0.model.reconstruction=false ;;
    fold-1) left_out noise lesion copied_patch ring_artefact ;;
    fold-2) left_out blur uniform_sphere foreign_patch spike_artefact ;;
    fold-3) left_out shuffle intensity deformation missing_slab ghost ;;
    fold-4) left_out hypointense_lesions mirrored_patch foreign_poisson thick_slices bias_blob ;;
    *) echo "no comparison is named $1" >&2 && exit 2 ;;
    esac
}

left_out() {
    printf 'heads.0.training.synthesis.left_out=[%s]\n' "$(printf '"%s"\n' "$@" | paste -sd,)"
}

[ $# -gt 0 ] || set -- all without-vae fold-1 fold-2 fold-3 fold-4
for name in "$@"; do
    changed=$(setting "$name")
    [ -e "$out/$name/model.json" ] || mood-vae train "$healthy" --out "$out/$name" --preset head-texture --resume \
        --vae mood_vae/weights/heads.safetensors --precision bf16-mixed --device cpu \
        --set mirroring=false --set heads.0.training.epochs=10 --set "$changed"
    [ -e "$out/$name.txt" ] || {
        python scripts/validate.py "$healthy" "$out/$name/model.json" "$out/$name/cache" --per-family 4 > "$out/$name.part"
        mv "$out/$name.part" "$out/$name.txt"
    }
done
