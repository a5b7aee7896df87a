#!/bin/sh
# Writes one anomaly map per volume of IN to OUT, under the volume's own file name.
# usage: sh run_pixel_level.sh IN OUT [further arguments of `mood-vae predict`]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=python3
if [ -x "$here/.venv/bin/python" ]; then python=$here/.venv/bin/python; fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m mood_vae predict pixel "$@"
