#!/bin/sh
# Runs both images as the challenge's organisers do, and harder; scores what they write; fails at the first surprise.
# usage: sh docker/test_run.sh
#   TOY=FOLDER      a toy set of `mood-vae toy` or in the challenge's layout; default: a small one of synthetic brains
#   PYTHON=COMMAND  a Python that has mood_vae's requirements; default: that of `make install`
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# users without any capability must get in
chmod 755 "$work"

fail() {
    echo "docker/test_run.sh: $*" >&2
    exit 1
}

make_toy() {
    "$python" - "$work/healthy" <<'PYTHON'
import sys
from pathlib import Path
from mood_vae.synthetic.phantom import write_phantoms

write_phantoms(Path(sys.argv[1]), n=3, seed=1, shape=(80, 80, 80), spacing_mm=2.5)
PYTHON
    "$python" -m mood_vae toy "$work/healthy" "$1" --cases 4 --seed 1
    chmod -R a+rX "$1"
}

# run USER FOLDER IMAGE [COMMAND]: in a bare container, with nothing to write to but FOLDER
run() {
    user=$1 folder=$2
    shift 2
    mkdir "$folder"
    chmod 777 "$folder"
    # shellcheck disable=SC2086
    docker run --rm $gpus --read-only --network none --cap-drop ALL --security-opt no-new-privileges --user "$user" \
        --volume "$toy/toy:/mnt/data:ro" --volume "$folder:/mnt/pred" "$@" || fail "$* as $user ended with status $?"
}

# check LEVEL FOLDER: FOLDER holds one prediction a case and nothing else, and every one is sound
check() {
    suffix=
    if [ "$1" = sample ]; then suffix=.txt; fi
    (cd "$toy/toy" && ls) | sed "s/\$/$suffix/" > "$work/expected"
    (cd "$2" && ls -A) > "$work/found"
    diff "$work/expected" "$work/found" || fail "$2: above, < is missing and > should not be there"
    "$python" -m mood_vae score "$1" "$2" "$toy/toy_label/$1" --strict --no-lesions --resamples 10 > "$work/score" \
        || fail "$2: the scorer refused it"
    ap=$(grep '^average_precision ' "$work/score") || fail "$2: the scorer gave no number"
}

same_but_last_layer() {
    for level in sample pixel; do
        docker image inspect --format '{{range .RootFS.Layers}}{{println .}}{{end}}' "mood-vae-$level" \
            | sed '/^$/d' | sed '$d' > "$work/layers-$level"
    done
    cmp "$work/layers-sample" "$work/layers-pixel" || fail "the images differ in more than their last layer"
}

# check_contents IMAGE: it lists its packages, holds nothing superfluous, and no address with a password built it
check_contents() {
    docker run --rm --interactive --read-only --network none --cap-drop ALL "$1" sh -s < docker/check_contents.sh \
        || fail "$1 holds what it should not, or lacks what it should"
    if docker history --no-trunc --format '{{.CreatedBy}}' "$1" | grep -E '://[^/ ]*@'; then fail "$1 tells a password"; fi
}

# the system calls that an engine with seccomp lets through by default are enough
check_seccomp() {
    docker info --format '{{json .SecurityOptions}}' | grep -q seccomp || return 0
    docker run --rm --network none "$1" grep -qx 'Seccomp:.2' /proc/self/status || fail "no seccomp filter: $1"
}

# with one processor to use, one thread runs, however many the host has
check_threads() {
    docker run --rm --interactive --network none --cap-drop ALL --cpus 1 "$1" python3 - <<'PYTHON' || fail "$1: threads"
import sys
from pathlib import Path

import numpy as np

from mood_vae.detection.pretrained import choose_detector
from mood_vae.io.volume import Volume

noise = np.random.default_rng(0).random((60, 60, 60), np.float32)
affine = np.diag([3.0, 3.0, 3.0, 1.0])
affine[:3, 3] = -90
choose_detector(region="brain", model=None, weights=None, device="cpu").detect(
    Volume(array=np.pad(noise, 4), affine=affine, case_id="noise")
)
threads = len(list(Path("/proc/self/task").iterdir()))
print(f"--cpus 1: {threads} thread")
sys.exit(threads != 1)
PYTHON
}

[ -x "$(command -v "$python")" ] || fail "no $python; run \`make install\` first, or set PYTHON"
toy=${TOY:-$work/toyset}
if [ -z "${TOY:-}" ]; then make_toy "$toy"; fi
toy=$(cd "$toy" && pwd)
gpus=
if docker info --format '{{json .Runtimes}}' | grep -q nvidia; then gpus='--gpus all'; fi

same_but_last_layer
for level in sample pixel; do
    image=mood-vae-$level out=$work/$level
    check_contents "$image"
    check_seccomp "$image"
    check_threads "$image"
    run 0:0 "$out-brain" "$image" sh "/workspace/run_${level}_brain.sh" /mnt/data /mnt/pred
    check "$level" "$out-brain"
    echo "$image brain $ap"

    run 1000:1000 "$out-default" "$image"
    check "$level" "$out-default"
    diff -r "$out-brain" "$out-default" || fail "$image predicts otherwise without a command and as user 1000"
    if [ -z "$gpus" ]; then
        # as in the image: without AVX-512 the number of its threads moves last digits
        OPENBLAS_NUM_THREADS=1 "$python" -m mood_vae predict "$level" "$toy/toy" "$out-command" --device cpu
        diff -r "$out-default" "$out-command" || fail "$image predicts otherwise than the command"
    fi

    run 1000:1000 "$out-abdom" "$image" sh "/workspace/run_${level}_abdom.sh" /mnt/data /mnt/pred
    check "$level" "$out-abdom"
    echo "$image abdom $ap (on brains)"
    docker image inspect --format "$image {{.Size}} bytes" "$image"
done
echo "docker/test_run.sh: both images passed"
