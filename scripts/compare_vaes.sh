#!/bin/sh
# What the training of a VAE gives to its residual: trainings that differ from the VAE of the shipped `heads` (20 epochs at
# 5e-4 and a pixel Gaussian of 0.3) in one thing each, and in fewer epochs where one takes longer, and the challenge's
# recipe. Ten to thirty minutes each on two cores. A finished one is not run again, one that was interrupted is taken up.
# usage: sh scripts/compare_vaes.sh HEALTHY OUT [NAME ...]
# HEALTHY as for train_seed.sh. NAME: cevae, smaller, larger, varied, three-axes; every one if none is given.
set -euf
healthy=$1
out=$2
shift 2

setting() {
    case $1 in
    # 64 x 80 pixels of 2.5 mm, and 160 x 208 of 1 mm, in place of 128 x 160 of 1.25 mm, which the volumes have
    smaller) size 64 80 64 2.5 '[-77.875,-116.125,-70.375]' ;;
    larger) size 160 208 160 1.0 '[-78.625,-120.875,-71.125]'; printf '%s\n' training.epochs=3 ;;
    # each slice as another scanner might have it; half of the epochs
    varied) printf '%s\n' training.varied=true training.epochs=10 ;;
    # three epochs, of three times as many slices
    three-axes) printf '%s\n' 'model.axes=[0,1,2]' 'model.slice_shape=[160,160]' training.epochs=3 ;;
    *) echo "no comparison is named $1" >&2 && exit 2 ;;
    esac
}

size() {
    printf '%s\n' "grid.shape=[$1,$2,$3]" "model.slice_shape=[$1,$2]" "grid.spacing_mm=$4" "grid.origin_mm=$5"
}

[ $# -gt 0 ] || set -- cevae smaller varied three-axes larger
for name in "$@"; do
    if [ "$name" = cevae ]; then
        set -- --preset cevae
    else
        changed=$(setting "$name")
        set -- --preset seed --set training.epochs=20 --set training.learning_rate=5e-4 --set training.pixel_sigma=0.3
        for change in $changed; do set -- "$@" --set "$change"; done
    fi
    [ -e "$out/$name/model.json" ] ||
        mood-vae train "$healthy" --out "$out/$name" --resume --precision bf16-mixed --device cpu "$@"
done
