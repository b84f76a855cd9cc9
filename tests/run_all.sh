#!/usr/bin/env bash
# Runs every suite in two lanes side by side, as each suite uses one core; what they print comes at the end, lane by lane.
# usage: run_all.sh PYTHON OLDEST_PACKAGES NEWEST_PACKAGES OLDEST_COMFYUI     (folders; see the Makefile)
set -u
python=$1 oldest=$2 newest=$3 comfyui=$4
named() { for name in "$@"; do echo "tests/core/test_$name.py"; done; }
suite() { OMP_NUM_THREADS=1 "$python" -m pytest -c tests/pytest.ini "$@"; }

core() { suite tests/core; }
training() { suite tests/training; }
nodes() { suite tests/nodes tests/fuzz; }
oldest_packages() {
    PYTHONPATH=$oldest EXPECTED_TRANSFORMERS=4.50.3 suite $(named published published_import published_refusals decoding model \
        checkpoints placement bundled versions)
}
newest_packages() { PYTHONPATH=$newest suite $(named published_import model checkpoints placement bundled versions); }
oldest_comfyui() { COMFYUI_FOLDER=$comfyui EXPECTED_COMFYUI=0.3.52 suite tests/nodes/test_workflows.py; }

lane() {
    local failed=0
    for one in "$@"; do
        echo "== $one"
        "$one" || failed=1
    done
    return $failed
}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
lane core oldest_packages >"$logs/one" 2>&1 &
first=$!
lane training nodes newest_packages oldest_comfyui >"$logs/two" 2>&1 &
second=$!
wait $first; one=$?
wait $second; two=$?
cat "$logs/one" "$logs/two"
[ $one = 0 ] && [ $two = 0 ]
