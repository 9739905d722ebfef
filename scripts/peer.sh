# Sets PEER_PYTHON to a Python with PyTorch 2.11 and the published once-for-all package; installs them into .work/peer
# otherwise (some gigabytes). To be sourced; `root` is the checkout.
if [ -z "${PEER_PYTHON:-}" ]; then
    PEER_PYTHON=$root/.work/peer/venv/bin/python
    if [ ! -e "$root/.work/peer/ready-train" ]; then
        mkdir -p "$root/.work/peer"
        python3 -m venv "$root/.work/peer/venv"
        "$PEER_PYTHON" -m pip install --quiet torch==2.11.0 torchvision numpy pyyaml tqdm pillow >&2
        # Its own list asks for more than the networks need.
        "$PEER_PYTHON" -m pip install --quiet --no-deps ofa==0.1.0.post202307202001 >&2
        touch "$root/.work/peer/ready-train"
    fi
fi
