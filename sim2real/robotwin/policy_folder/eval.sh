#!/bin/bash
# Evaluate a policy bundle by RoboTwin's classic protocol: 100 episodes on seeds that its expert solves.
set -euo pipefail

if [[ $# -lt 5 ]]; then
    echo "usage: bash eval.sh TASK TASK_CONFIG BUNDLE SEED GPU [--ENTRY VALUE of deploy_policy.yml ...]" >&2
    exit 2
fi
task_name=$1 task_config=$2 bundle=$(realpath "$3") seed=$4 gpu=$5
shift 5

# The folder is a link: ".." must lead to RoboTwin, not to where the link points.
cd -L "$(dirname "${BASH_SOURCE[0]}")"
policy_name=$(basename "$PWD")
cd -L ../..
if [[ ! -f script/eval_policy.py ]]; then
    echo "error: $PWD has no script/eval_policy.py: run this through the link in RoboTwin's policy folder," \
        "in a checkout of its branch stable_2.0" >&2
    exit 2
fi

CUDA_VISIBLE_DEVICES=$gpu PYTHONWARNINGS=ignore::UserWarning exec python script/eval_policy.py \
    --config "policy/$policy_name/deploy_policy.yml" \
    --overrides \
    --task_name "$task_name" \
    --task_config "$task_config" \
    --ckpt_setting "$(basename "$(dirname "$bundle")")" \
    --bundle "$bundle" \
    --seed "$seed" \
    --policy_name "$policy_name" \
    "$@"
