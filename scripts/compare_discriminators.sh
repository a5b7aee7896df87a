#!/bin/sh
# What a discriminator finds of anomaly types that it was never shown, and what it owes to the VAE: six short trainings
# that differ in one thing each, on the VAE of the shipped weights, each measured by `mood-vae benchmark validate`. Half an
# hour each on two cores with bf16 instructions. What is finished is not run again. The figures of entry 8 in
# EXPERIMENTS.md are of commit e24aae9, before there were the three types that are now left out of all.
# usage: sh scripts/compare_discriminators.sh HEALTHY OUT [NAME ...]
# HEALTHY: as for train_paper.sh. NAME: all, without-vae, fold-1 to fold-4; every one if none is given. OUT/NAME.txt then
# holds the figures of each
set -eu
healthy=$1
out=$2
shift 2
weights=$(dirname "$0")/../mood_vae/weights/discriminators.safetensors
mkdir -p "$out"
# one thread: inserting, in another process, takes what a second would
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

# every type is left out in one fold, together with such as are unlike it
setting() {
    case $1 in
    all) echo discriminator_training.0.epochs=10 ;; # as they all have
    without-vae) echo detector.discriminators.0.reconstruction=false ;;
    fold-1) left_out noise lesion cutpaste ring_artefact ;;
    fold-2) left_out blur uniform_sphere foreign_patch_interpolation spike_artefact ;;
    fold-3) left_out shuffle intensity deformation missing_slab ghost ;;
    fold-4) left_out hypointense_lesions mirrored_patch poisson_image_interpolation thick_slices bias_blob ;;
    *) echo "no comparison is named $1" >&2 && exit 2 ;;
    esac
}

# with the types that include changes like those of nearly all others
left_out() {
    set -- composition infiltrating_lesion faint_lesions "$@"
    printf 'discriminator_training.0.synthesis.left_out=[%s]\n' "$(printf '"%s"\n' "$@" | paste -s -d , -)"
}

[ $# -gt 0 ] || set -- all without-vae fold-1 fold-2 fold-3 fold-4
for name in "$@"; do
    changed=$(setting "$name")
    [ -e "$out/$name/model.json" ] || mood-vae train "$healthy" --out "$out/$name" --preset discriminator-2d --resume \
        --vae "$weights" --precision auto --device cpu \
        --set detector.mirroring=false --set discriminator_training.0.epochs=10 \
        --set "$(left_out)" --set "$changed"
    [ -e "$out/$name.txt" ] || {
        mood-vae benchmark validate "$healthy" "$out/$name/model.json" "$out/$name/cache" --per-type 4 > "$out/$name.part"
        mv "$out/$name.part" "$out/$name.txt"
    }
done
