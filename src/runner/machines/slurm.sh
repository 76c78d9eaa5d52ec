#!/bin/bash
# A job array of Slurm: sbatch slurm.sh, in the unpacked archive (`just archive`) on a disk that all nodes see.
# Afterwards, where the project is: just merge 4 shard-*-of-4.jsonl --out merged.jsonl
#SBATCH --job-name=hf-conformance
#SBATCH --array=1-4
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=01:00:00
set -eu
# Slurm runs a copy of this file: the archive is where it was submitted.
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")}"
export LIBTORCH=${LIBTORCH:-$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))')}
exec ./shard "$SLURM_ARRAY_TASK_ID" "$SLURM_ARRAY_TASK_COUNT" "$@"
