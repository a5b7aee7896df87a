#!/bin/sh
# Builds both images. Arguments go on to `docker build`, e.g. --network host, --build-arg TORCH=torch==2.13.0+cpu
set -eu
cd "$(dirname "$0")/.."

for level in sample pixel; do
    docker build --target "$level" --tag "mood-vae-$level" --file docker/Dockerfile "$@" .
done

# the installed Python packages as a CycloneDX list, where the tool that writes it is at hand (pip: cyclonedx-bom)
PATH=$PWD/.venv/bin:$PATH
if command -v cyclonedx-py > /dev/null; then
    packages=$(docker run --rm --network none mood-vae-pixel pip --python /opt/venv/bin/python freeze)
    echo "$packages" | cyclonedx-py requirements --output-file docker/mood-vae.cdx.json -
fi

for level in sample pixel; do
    docker image inspect --format "mood-vae-$level {{.Size}} bytes" "mood-vae-$level"
done
