#!/bin/sh
# Writes one anomaly score per volume of IN to OUT/<file name>.txt.
# usage: sh run_sample_level.sh IN OUT [further arguments of `mood-vae predict`]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
python=python3
if [ -x "$here/.venv/bin/python" ]; then python=$here/.venv/bin/python; fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m mood_vae predict sample "$@"
