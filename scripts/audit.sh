#!/bin/sh
# Asks the Python Packaging Advisory Database about every package that is installed here; needs pip-audit and a network.
# usage: sh scripts/audit.sh [further arguments of pip-audit]
#   PYTHON=COMMAND  whose packages; default: that of `make install`
# Exit status: 0 no known vulnerability, 1 some (listed), 3 not audited (no pip-audit, no network, another failure)
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

# pip-audit ends with 1 for a finding and for a failure alike; only the former leaves a report
status=0
pip-audit --path "$packages" --format json --output "$work/report" --progress-spinner off "$@" 2> "$work/log" || status=$?
if [ ! -s "$work/report" ]; then
    tail -n 1 "$work/log" >&2
    echo "audit.sh: not audited: pip-audit gave no report, for want of a network perhaps; see its last line above" >&2
    exit 3
fi
cat "$work/log" >&2
if [ "$status" -ne 0 ]; then
    cat "$work/report"
    exit 1
fi
echo "no known vulnerability in $packages"
