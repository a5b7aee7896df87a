#!/bin/sh
# Builds both images. Arguments go on to `docker build`, e.g. --network host, --build-arg TORCH=torch==2.13.0+cpu
set -eu
cd "$(dirname "$0")/.."

for level in sample pixel; do
    docker build --target "$level" --tag "mood-vae-$level" --file docker/Dockerfile "$@" .
done

for level in sample pixel; do
    docker image inspect --format "mood-vae-$level {{.Size}} bytes" "mood-vae-$level"
done
