#!/bin/sh
# Builds both images of the challenge, or with `clinical` as its first word mood-vae-clinical, which takes raw scans.
# Further arguments go on to `docker build`, e.g. --network host, --build-arg TORCH=torch==2.13.0+cpu
set -eu
cd "$(dirname "$0")/.."

targets="sample pixel"
if [ "${1:-}" = clinical ]; then
    targets=clinical
    shift
fi
for target in $targets; do
    docker build --target "$target" --tag "mood-vae-$target" --file docker/Dockerfile "$@" .
done

for target in $targets; do
    docker image inspect --format "mood-vae-$target {{.Size}} bytes" "mood-vae-$target"
done
