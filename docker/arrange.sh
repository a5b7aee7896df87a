#!/bin/sh
# Used while building: turns what was copied to /common into the images' /workspace, with the scripts in /sample, /pixel.
set -eu

for region in brain abdom; do
    folder=/common/weights/$region
    if [ -f "$folder/none" ]; then rm -r "$folder"; continue; fi
    if [ ! -f "$folder/model.safetensors" ] || [ ! -f "$folder/model.json" ]; then
        echo "weights for $region: expected a folder with model.safetensors and model.json, found:" >&2
        ls "$folder" >&2
        exit 1
    fi
done

for level in sample pixel; do
    mkdir "/$level"
    for region in brain abdom; do cp /run_region.sh "/$level/run_${level}_$region.sh"; done
done

# the root is read-only at run time, so the bytecode is written now; nothing will change it: no stamps to compare
python3 -m compileall -q --invalidation-mode unchecked-hash /common/mood_vae
chmod -R a+rX,go-w /common /sample /pixel
