# Sets OFA_PYTHON to a Python with the runtimes that exported files are checked in; installs them into $1/python otherwise.
# To be sourced.
if [ -z "${OFA_PYTHON:-}" ]; then
    OFA_PYTHON=$1/python/bin/python3
    if [ ! -e "$1/python/ready" ]; then
        rm -rf "$1/python"
        python3 -m venv "$1/python"
        "$OFA_PYTHON" -m pip install --quiet numpy pillow onnx==1.23.2 onnxruntime==1.32.0 ai-edge-litert==2.3.0 >&2
        # There are pre-releases only, and not for every Python; without it that column is empty.
        "$OFA_PYTHON" -m pip install --quiet --pre tflite-micro >&2 || true
        touch "$1/python/ready"
    fi
fi
OFA_PYTHON=$(cd "$(dirname "$OFA_PYTHON")" && pwd)/$(basename "$OFA_PYTHON")
export OFA_PYTHON
