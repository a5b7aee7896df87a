#!/bin/sh
# Saves both images as FOLDER/mood-vae-{sample|pixel}.tar.gz, ready to be handed in; `docker load -i FILE` reads them.
# usage: sh docker/save.sh [FOLDER]      default: docker/saved
set -eu
folder=${1:-$(dirname "$0")/saved}
mkdir -p "$folder"

for level in sample pixel; do
    file=$folder/mood-vae-$level.tar
    docker save --output "$file.part" "mood-vae-$level"
    gzip -f "$file.part" # whatever an earlier try left
    mv "$file.part.gz" "$file.gz"
    ls -l "$file.gz"
done
