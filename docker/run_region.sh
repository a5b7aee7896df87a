#!/bin/sh
# In the images this file is run_{sample|pixel}_{brain|abdom}.sh; its own name says what to do.
# usage: sh run_pixel_brain.sh IN OUT [further arguments of `mood-vae predict`]
set -eu
name=$(basename "$0" .sh)
region=${name##*_}
level=${name#run_}
level=${level%_*}
workspace=$(dirname "$0")

# there only when baked in by --build-arg BRAIN_WEIGHTS or ABDOM_WEIGHTS
weights=$workspace/weights/$region/model.safetensors
case " $* " in
    *" --weights"* | *" --model"* | *" --preset"*) ;; # the user's own choice
    *) if [ -f "$weights" ]; then set -- "$@" --weights "$weights"; fi ;;
esac
exec sh "$workspace/run_${level}_level.sh" "$@" --region "$region"
