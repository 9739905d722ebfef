# Sourced by `ofa` and `test`: makes sure that what a build needs is there, LibTorch included.
# Talks to stderr only. Sets `root` (the checkout) and `target` (cargo's target folder).

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
target=${CARGO_TARGET_DIR:-target}
# Relative to the checkout, where cargo is run.
case $target in /*) ;; *) target=$root/$target ;; esac
libtorch_version=2.11.0

say() { printf '%s\n' "$*" >&2; }

give_up() {
    say "error: $1"
    [ -z "${2:-}" ] || say "hint: $2"
    exit 1
}

# The command that installs a package here; arguments: its names for apt, dnf, pacman, zypper and apk.
install_command() {
    if command -v apt-get >/dev/null; then echo "sudo apt-get install -y $1"
    elif command -v dnf >/dev/null; then echo "sudo dnf install -y $2"
    elif command -v pacman >/dev/null; then echo "sudo pacman -S --needed $3"
    elif command -v zypper >/dev/null; then echo "sudo zypper install -y $4"
    elif command -v apk >/dev/null; then echo "sudo apk add $5"
    else echo "install $1 with this system's package manager"
    fi
}

check_tools() {
    # rustup's folder is not on the path of a shell that was open while Rust was installed.
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin"
    command -v cargo >/dev/null ||
        give_up "Rust is missing (no cargo)" "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    found=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n 1)" = "$wanted" ] ||
        give_up "Rust $wanted or newer is needed, this is $found" "rustup update stable"
    local compiler
    for compiler in "${CC:-cc}" "${CXX:-c++}"; do
        # Unquoted: the variables may hold a launcher and options, `ccache g++`.
        command -v ${compiler%% *} >/dev/null ||
            give_up "a C++ compiler is missing (no ${compiler%% *})" \
                "$(install_command build-essential gcc-c++ base-devel gcc-c++ build-base)"
    done
}

# The release that a LibTorch folder states, without its `+cu130`; nothing where it states none.
stated_version() {
    if [ -r "$1/version.py" ]; then sed -n "s/^__version__ *= *['\"]\([^'\"+]*\).*/\1/p" "$1/version.py"
    elif [ -r "$1/build-version" ]; then cut -d+ -f1 "$1/build-version"
    fi
}

set_up_libtorch() {
    local version
    if [ -n "${LIBTORCH:-}" ]; then
        [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || [ -e "$LIBTORCH/lib/libtorch_cpu.dylib" ] ||
            give_up "LIBTORCH is set to $LIBTORCH, which holds no lib/libtorch_cpu.so" \
                "set it to the folder \`torch\` of an installed PyTorch $libtorch_version, or unset it"
        # Absolute, since cargo runs build scripts in other folders.
        LIBTORCH=$(cd -- "$LIBTORCH" && pwd -P)
        export LIBTORCH
        version=$(stated_version "$LIBTORCH")
        [ -n "$version" ] || say "note: $LIBTORCH does not state its version; $libtorch_version is needed"
        [ "${version:-$libtorch_version}" = "$libtorch_version" ] ||
            give_up "LIBTORCH is set to $LIBTORCH, which is version $version; $libtorch_version is needed" \
                "pip install torch==$libtorch_version, or unset LIBTORCH to have the right one fetched"
        return
    fi
    # An empty variable would win over the folder named in .cargo/config.toml.
    unset LIBTORCH
    [ "$(stated_version "$root/libtorch")" != "$libtorch_version" ] || return 0
    if command -v nvidia-smi >/dev/null; then
        say "note: fetching LibTorch for the CPU; to use the NVIDIA GPU, set LIBTORCH to the folder \`torch\` of an" \
            "installed PyTorch $libtorch_version (pip install torch==$libtorch_version)"
    fi
    command -v python3 >/dev/null ||
        give_up "Python 3 is missing; it fetches LibTorch" \
            "$(install_command "python3 python3-pip" "python3 python3-pip" "python python-pip" "python3 python3-pip" "python3 py3-pip")"
    OFA_INSTALL_PIP=$(install_command python3-pip python3-pip python-pip python3-pip py3-pip) \
        python3 "$root/scripts/fetch_libtorch.py" "$root/libtorch" || exit 1
}
