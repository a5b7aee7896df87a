#!/bin/sh
# Used while building: installs into /opt/venv, which has no pip of its own, and leaves no caches, compilers or tests.
# usage: sh install.sh ARGUMENTS-OF-PIP-INSTALL
set -eu
venv=/opt/venv
[ -d "$venv" ] || python3 -m venv --without-pip "$venv"
python3 -m pip --python "$venv/bin/python" install \
    --no-cache-dir --disable-pip-version-check --root-user-action ignore "$@"

# triton, which CUDA builds bring, compiles for torch.compile alone; 0.7 GB
python3 -m pip --python "$venv/bin/python" uninstall --quiet --yes --root-user-action ignore triton
# torch comes with a protocol compiler, C++ headers, and tests of its own
torch=$(echo "$venv"/lib/python3*/site-packages/torch)
find "$torch/bin" -type f ! -name torch_shm_manager -delete
rm -rf "$torch/include" "$torch/share/cmake"
find "$venv" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
