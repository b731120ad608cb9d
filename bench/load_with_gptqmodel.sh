#!/usr/bin/env bash
# Loads GPTQ and AWQ checkpoints written by llmc with transformers + optimum + gptqmodel, and compares what they compute.
#   bash bench/load_with_gptqmodel.sh                       tiny models, every format and grid
#   bash bench/load_with_gptqmodel.sh --checkpoint DIR      a checkpoint of your own
# gptqmodel 7.7 wants torch >= 2.14.1, so it gets an environment of its own (5.7 GB with the CUDA libraries that
# torch brings): LLMC_GPTQMODEL_VENV, default bench/work/gptqmodel.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
venv=${LLMC_GPTQMODEL_VENV:-$root/bench/work/gptqmodel}
if ! "$venv/bin/python" -c 'import importlib.metadata as m; m.version("gptqmodel"), m.version("optimum")' 2>/dev/null; then
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install --quiet "torch==2.14.1" "setuptools>=84.2.1,<85"
  "$venv/bin/pip" install --quiet --no-build-isolation "gptqmodel==7.7.0" "optimum==2.3.0" "transformers==5.23.0"
fi
export PYTHONPATH=$root GPTQMODEL_CPU_WORKERS=4 HF_HUB_OFFLINE=1 CUDA_VISIBLE_DEVICES=
exec "$venv/bin/python" "$root/bench/load_with_gptqmodel.py" "$@"
