#!/bin/sh
# Makes the environment of the compressor that compress_speed.py compares with, apart from our own: their pins differ.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/.peer}
[ -x "$venv/bin/python" ] || ${PYTHON:-python3} -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check llmcompressor==0.14.0.1 torch==2.13.0
"$venv/bin/python" -c 'import llmcompressor, torch; print("llmcompressor", llmcompressor.__version__, "torch", torch.__version__)'
