#!/bin/sh
# Asks the Python Packaging Advisory Database about every package that is installed here; needs pip-audit and a network.
# usage: sh scripts/audit.sh [further arguments of pip-audit]
#   PYTHON=COMMAND  whose packages; default: that of `make install`
# Exit status: 0 no known vulnerability, 1 some (listed), 3 not audited, or not all of it (no pip-audit, no network, a
# package that PyPI does not know, another failure)
set -eu
root=$(dirname "$0")/..
PATH=$root/.venv/bin:$PATH
python=${PYTHON:-python3}

if ! command -v pip-audit > /dev/null; then
    echo "audit.sh: not audited: there is no pip-audit; \`pipx install pip-audit\` or \`pip install pip-audit\`" >&2
    exit 3
fi
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# all but mood_vae itself, which is not on PyPI; nor is a build of one's own, so 2.13.0+cpu counts as 2.13.0
"$python" - > "$work/packages" <<'PYTHON'
import sysconfig
from importlib import metadata

for package in metadata.distributions(path=[sysconfig.get_path("purelib")]):
    if package.name != "mood-vae":
        print(f"{package.name}=={package.version.partition('+')[0]}")
PYTHON

# pip-audit ends with 1 for a finding and for a failure alike; only the former leaves a report
status=0
pip-audit "$@" --requirement "$work/packages" --no-deps --disable-pip --format json --output "$work/report" \
    --progress-spinner off 2> "$work/log" || status=$?
if [ ! -s "$work/report" ]; then
    tail -n 1 "$work/log" >&2
    echo "audit.sh: not audited: pip-audit gave no report, for want of a network perhaps; see its last line above" >&2
    exit 3
fi
if [ "$status" -ne 0 ]; then
    cat "$work/log" >&2
    cat "$work/report"
    exit 1
fi

# to pip-audit a package that PyPI does not know is no failure
"$python" - "$work/report" > "$work/skipped" <<'PYTHON' || exit 3
import json
import sys
from pathlib import Path

for package in json.loads(Path(sys.argv[1]).read_text())["dependencies"]:
    if "skip_reason" in package:
        print(f"{package['name']}: {package['skip_reason']}")
PYTHON
if [ -s "$work/skipped" ]; then
    cat "$work/skipped" >&2
    echo "audit.sh: not audited: the packages above; no known vulnerability in the others of $packages" >&2
    exit 3
fi
echo "no known vulnerability in $packages"
