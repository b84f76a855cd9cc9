#!/usr/bin/env bash
# Runs every suite, two at a time, as each uses one core. What a suite prints comes when it has ended. What only one suite
# needs is set up by that suite, while the other runs. SUITES names some of them; PYTEST_ADDOPTS has options for pytest.
# usage: run_all.sh PYTHON [OLDEST_PACKAGES NEWEST_PACKAGES OLDEST_COMFYUI]     (folders; see the Makefile)
set -u
export python=$1 oldest=${2-} newest=${3-} comfyui=${4-} MAKE=${MAKE:-make}
named() { for name in "$@"; do find tests/core -name "test_$name.py"; done; }
set_up() { $MAKE --no-print-directory "$1"; }
suite() { OMP_NUM_THREADS=1 "$python" -m pytest -c tests/pytest.ini "$@"; }
# for other packages: the ladders take long and need the same answers as the golden ones
without_ladders() { suite --deselect core/test_bundled.py::test_ladders_of_distortions_it_never_saw_come_in_order "$@"; }

style() { "$python" -m ruff check . && "$python" -m ruff format --check . && "$python" -m mypy .; }
core() { suite tests/core; }
training() { suite tests/training; }
nodes() { suite tests/nodes tests/fuzz; }
oldest_packages() {
    set_up oldest && PYTHONPATH=$oldest EXPECTED_TRANSFORMERS=4.50.3 without_ladders $(named published published_import decoding \
        model checkpoints placement bundled versions)
}
newest_packages() {
    set_up newest && PYTHONPATH=$newest without_ladders $(named published_import model checkpoints placement bundled versions)
}
oldest_comfyui() {
    set_up oldest-comfyui && COMFYUI_FOLDER=$comfyui EXPECTED_COMFYUI=0.3.52 suite tests/nodes/test_workflows.py
}

printed() {
    local output status
    output=$("$1" 2>&1)
    status=$?
    printf '== %s\n%s\n' "$1" "$output"
    return $status
}
export -f named set_up suite without_ladders style core training nodes oldest_packages newest_packages oldest_comfyui printed

# the longest first; xargs fails when one of them does
printf '%s\n' ${SUITES:-core training nodes oldest_packages newest_packages style oldest_comfyui} | xargs -P 2 -I{} bash -c 'printed {}'
