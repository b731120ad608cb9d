#!/bin/sh
# Puts a trained model into the package and prints what it knows: bench/train_world/finish.sh WORK
set -e
cd "$(dirname "$0")/../.."
cp "$1"/export/*.json "$1"/export/model.safetensors llmc/data/mini/
chmod 644 llmc/data/mini/*
mkdir -p docs/world
cp "$1"/log.jsonl docs/world/log.jsonl
python bench/train_world/curve.py "$1"/log.jsonl docs/world/loss.svg
PYTHONPATH=. python bench/train_world/check.py llmc/data/mini --sparsities 0 0.5
