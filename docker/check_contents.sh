#!/bin/sh
# docker/test_run.sh runs this inside an image: it must list what it holds, and hold nothing that predicting can do without.
set -eu
status=0
complain() {
    echo "check_contents.sh: $*" >&2
    status=1
}
# none WHAT PATH...: complains if there are any such paths
none() {
    what=$1
    shift
    if [ $# -gt 0 ]; then complain "$what: $*"; fi
}

for tool in cc gcc c++ g++ clang as ld make nvcc ptxas rustc go pytest cyclonedx-py pip-audit; do
    if found=$(command -v "$tool"); then complain "a compiler or a developer's tool: $found"; fi
done
# shellcheck disable=SC2046
{
    none "compilers" $(find / -xdev -type f \( -name cc1 -o -name nvcc -o -name ptxas -o -name 'protoc*' \) -perm -u+x)
    none "caches" $(find / -xdev -type d \( -path '*/.cache/*' -o -name 'pip-*' -path '/tmp/*' \))
    none "tests" $(find /opt/venv /workspace -type d \( -name tests -o -name test \))
    none "scans" $(find / -xdev \( -name proc -o -name sys \) -prune -o \
        \( -name '*.nii*' -o -name '*.mgz' -o -name '*.nrrd' -o -name '*.mha' \) -print)
    none "secrets, or what often holds some" $(find / -xdev \( -name proc -o -name sys -o -name ssl \) -prune -o \
        \( -name .git -o -name .env -o -name .netrc -o -name .pypirc -o -name .ssh -o -name .docker -o -name pip.conf \
        -o -name 'id_rsa*' -o -name '*.key' \) -print)
}
named=$(env | sed -n 's/^\([A-Za-z_]*\)=.*/\1/p' | grep -iE 'token|secret|passw|credential|api_?key' || true)
none "variables that sound like secrets" $named

python3 - /opt/mood_vae/sbom.json <<'PYTHON' || status=1
import json
import re
import sys
from importlib import metadata
from pathlib import Path

bill = json.loads(Path(sys.argv[1]).read_text())
if bill["bomFormat"] != "CycloneDX":
    sys.exit(f"check_contents.sh: not CycloneDX: {bill['bomFormat']}")
listed = {(re.sub("[-_.]+", "-", part["name"]).lower(), part["version"]) for part in bill["components"]}
installed = {(re.sub("[-_.]+", "-", d.name).lower(), d.version) for d in metadata.distributions()}
if not {"torch", "numpy", "simpleitk"} <= {name for name, _ in listed} or not installed <= listed:
    sys.exit(f"check_contents.sh: the bill of materials lacks {sorted(installed - listed)}")
print(f"the bill of materials lists {len(listed)} packages")
PYTHON
exit "$status"
