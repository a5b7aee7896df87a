#!/bin/sh
# What the training of a VAE gives to its residual: trainings that differ from the VAE of the shipped `discriminators`
# (20 epochs at 5e-4 and a pixel Gaussian of 0.3) in one thing each, and in fewer epochs where one takes longer, and the
# recipe of the challenge's own example. Ten to thirty minutes each on two cores with bf16 instructions. A finished one is
# not run again, one that was interrupted goes on.
# usage: sh scripts/compare_vaes.sh HEALTHY OUT [NAME ...]
# HEALTHY: as for train_paper.sh. NAME: cevae, smaller, larger, augmented, three-axes; every one if none is given. Then
# `mood-vae benchmark run DATA RESULTS --weights NAME=OUT/NAME/model.json` makes a row of each
set -eu
set -f # brackets in settings are no patterns of file names
healthy=$1
out=$2
shift 2

setting() {
    case $1 in
    # 64 x 80 pixels of 2.5 mm, and 160 x 208 of 1 mm, in place of 128 x 160 of 1.25 mm, which the volumes have
    smaller) size 64 80 64 2.5 '[-77.875,-116.125,-70.375]' ;;
    larger) size 160 208 160 1.0 '[-78.625,-120.875,-71.125]'; printf '%s\n' training.epochs=3 ;;
    # each slice as another scanner might have it; half of the epochs
    augmented) printf '%s\n' training.augmented=true training.epochs=10 ;;
    # three epochs, of three times as many slices
    three-axes)
        printf '%s\n' 'detector.vae.axes=[0,1,2]' 'detector.vae.slice_shape=[160,160]' training.epochs=3 ;;
    *) echo "no comparison is named $1" >&2 && exit 2 ;;
    esac
}

size() {
    printf '%s\n' "detector.grid.shape=[$1,$2,$3]" "detector.vae.slice_shape=[$1,$2]" \
        "detector.grid.spacing_mm=$4" "detector.grid.origin_mm=$5"
}

[ $# -gt 0 ] || set -- cevae smaller augmented three-axes larger
for name in "$@"; do
    if [ "$name" = cevae ]; then
        set -- --preset cevae
    else
        changed=$(setting "$name")
        set -- --preset paper --set training.epochs=20 --set training.learning_rate=5e-4 --set training.pixel_sigma=0.3
        for change in $changed; do set -- "$@" --set "$change"; done
    fi
    [ -e "$out/$name/model.json" ] ||
        mood-vae train "$healthy" --out "$out/$name" --resume --precision auto --device cpu "$@"
done
