# shellcheck shell=sh
# Makes the virtual environment in which the demonstration and the tests run. To be sourced by a POSIX shell:
#
#     trainer=…/trainer; . "$trainer/setup.sh"
#     clsdm_setup VENV EXTRAS       # afterwards VENV/bin/python has clsdm with these extras, and torch
#
# An environment that is already right is recognised by its stamp, without starting Python. Every file that comes from
# PyPI must have the SHA-256 that trainer/locks says (trainer/lock.sh renews them). The one exception is the CPU build of
# torch: its version is fixed, and it comes from PyTorch's own index by https, or from where this machine keeps it.

: "${trainer:?setup.sh: expected the folder trainer/ in this variable}"

clsdm_torch='torch==2.13.0'
clsdm_cpu_index='https://download.pytorch.org/whl/cpu' # PyTorch's own; its wheels are a tenth of the CUDA ones
clsdm_pip='25.0.1'                                     # for a Python that comes without pip
clsdm_pip_sha256='c46efd13b6aa8279f33f2864459c8ce587ea6a1a59ee20de055868d8f7688f7f'

clsdm_say() {
    printf '%s\n' "$*" >&2
}

# clsdm_setup VENV EXTRAS: make the environment, or bring it up to date.
clsdm_setup() {
    case $2 in cli) clsdm_lock=$trainer/locks/cli.txt ;; *) clsdm_lock=$trainer/locks/test.txt ;; esac
    clsdm_stamp="$(cat "$trainer/pyproject.toml" "$trainer/setup.sh" "$clsdm_lock" | cksum) [$2] $trainer" || return
    if [ -x "$1/bin/python" ] && [ "$(cat "$1/.clsdm-stamp" 2>/dev/null)" = "$clsdm_stamp" ]; then
        return 0
    fi
    clsdm_say "Setting up $1 (once; a few minutes)"
    if ! "$1/bin/python" -m pip --version >/dev/null 2>&1; then
        clsdm_make_venv "$1" || return
    fi
    clsdm_install "$1/bin/python" "$2" || {
        clsdm_say "Installing into $1 failed; the messages above say why. Run the same command again to continue."
        return 1
    }
    printf '%s\n' "$clsdm_stamp" >"$1/.clsdm-stamp"
}

# clsdm_install PYTHON EXTRAS: torch first, so that nothing after it can bring another build. Nothing is resolved here:
# the lock names everything, and what it does not name is not installed.
clsdm_install() {
    clsdm_quiet=''
    [ -t 2 ] || clsdm_quiet='--quiet' # a terminal gets pip's progress bars
    clsdm_install_torch "$1" || return
    clsdm_install_locked "$1" "$clsdm_lock" || return
    # shellcheck disable=SC2086 # an empty word must vanish
    "$1" -m pip install $clsdm_quiet --no-deps --no-build-isolation --editable "${trainer}[$2]" >&2
}

# clsdm_install_locked PYTHON FILE: what the file names, each with one of the hashes it names.
clsdm_install_locked() {
    # shellcheck disable=SC2086
    "$1" -m pip install $clsdm_quiet --require-hashes --no-deps --requirement "$2" >&2
}

clsdm_install_torch() {
    # Without an NVIDIA GPU: the CPU build, from PyTorch's index or from this machine.
    if ! nvidia-smi -L >/dev/null 2>&1; then
        clsdm_say "No NVIDIA GPU found: installing the CPU build of $clsdm_torch"
        # shellcheck disable=SC2086
        "$1" -m pip --timeout 10 --retries 0 install $clsdm_quiet --no-deps --index-url "$clsdm_cpu_index" \
            "$clsdm_torch" >/dev/null 2>&1 && return
        # shellcheck disable=SC2086
        "$1" -m pip install $clsdm_quiet --no-deps "$clsdm_torch" >&2 || return
        # PyPI's build runs on a CPU as well, with NVIDIA's libraries beside it; others need nothing.
        case $("$1" -m pip show --files torch | grep -c libtorch_cuda) in 0) return ;; esac
    fi
    clsdm_install_locked "$1" "$trainer/locks/cuda.txt"
}

# clsdm_make_venv VENV: an environment with pip, also on a Debian whose Python lacks ensurepip.
clsdm_make_venv() {
    if [ -e "$1" ] && [ ! -e "$1/pyvenv.cfg" ] && [ -n "$(ls -A "$1" 2>/dev/null)" ]; then
        clsdm_say "$1: is there already and is no virtual environment; expected a free name in CLSDM_VENV"
        return 1
    fi
    clsdm_find_python || return
    "$clsdm_python" -m venv --clear "$1" >/dev/null 2>&1 && return
    "$clsdm_python" -m venv --clear --without-pip "$1" && clsdm_fetch_pip "$1/bin/python" && return
    clsdm_package="$("$clsdm_python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        clsdm_say "Installing $clsdm_package with apt-get"
        { apt-get update && apt-get install --yes --no-install-recommends "$clsdm_package"; } >&2 || return
        "$clsdm_python" -m venv --clear "$1" && return
    fi
    clsdm_say "This Python cannot make a virtual environment. Please run:  sudo apt-get install $clsdm_package"
    return 1
}

# clsdm_find_python: sets clsdm_python to the first Python of a version that pyproject.toml allows.
clsdm_find_python() {
    for clsdm_python in python3 python3.12 python3.13 python3.11 python3.10 python3.14; do
        "$clsdm_python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' 2>/dev/null && return
    done
    clsdm_say "Found no Python 3.10 ... 3.14. Please run:  sudo apt-get install python3"
    return 1
}

# clsdm_fetch_pip PYTHON: what ensurepip does, from PyPI, with a pinned hash.
clsdm_fetch_pip() {
    "$1" - "$clsdm_pip" "$clsdm_pip_sha256" <<'PYTHON' >&2
"""Install one known pip wheel into the running environment."""
import hashlib
import pathlib
import re
import runpy
import sys
import tempfile
import urllib.parse
import urllib.request

MOST = 1 << 25  # bytes of an answer that are read
version, sha256 = sys.argv[1:]
name = f"pip-{version}-py3-none-any.whl"
index = "https://pypi.org/simple/pip/"
try:
    page = urllib.request.urlopen(index, timeout=30).read(MOST).decode()
    link = re.search(rf'href="([^"#]*{re.escape(name)})', page).group(1)
    wheel = urllib.request.urlopen(urllib.parse.urljoin(index, link), timeout=60).read(MOST)
except OSError as error:
    sys.exit(f"{index}: cannot be read ({error})")
if hashlib.sha256(wheel).hexdigest() != sha256:
    sys.exit(f"{name}: expected SHA-256 {sha256}, found another file")
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / name
    path.write_bytes(wheel)
    sys.path.insert(0, str(path))
    sys.argv = ["pip", "install", "--quiet", "--no-index", "--no-deps", str(path)]
    runpy.run_module("pip", run_name="__main__")
PYTHON
}
