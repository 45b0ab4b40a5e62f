#!/bin/sh
# Writes trainer/locks/*.txt anew: the newest versions that pyproject.toml allows, with the SHA-256 of every file of each,
# for all systems and all Python versions. `sh trainer/lock.sh`, then run the tests and look at the difference.
#
#     locks/cli.txt   what `clsdm` needs, as trainer/demo.sh installs it
#     locks/test.txt  what training, the benchmark and the tests need, as Testing/run.sh installs it
#     locks/cuda.txt  torch itself as PyPI has it, with NVIDIA's libraries on Linux
#     locks/uv.txt    the tool that resolves
#
# torch is in none of the first two: its CPU build comes from PyTorch's own index or from this machine (trainer/setup.sh).
set -eu
trainer=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=trainer/setup.sh
. "$trainer/setup.sh"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
clsdm_make_venv "$scratch/venv"
if [ -s "$trainer/locks/uv.txt" ]; then # the resolver itself by the hash that was seen last
    "$scratch/venv/bin/python" -m pip install --quiet --require-hashes --no-deps -r "$trainer/locks/uv.txt" >&2
else
    "$scratch/venv/bin/python" -m pip install --quiet uv >&2
fi

# The versions that were locked before do not matter: what is newest is taken, so that running this weekly is an upgrade.
resolve() {
    "$scratch/venv/bin/uv" pip compile --quiet --no-header --no-annotate --universal --python-version 3.10 \
        --generate-hashes --constraint "$scratch/torch" "$@"
}

# Lets through the packages whose names match a pattern, or with `-v` the others; each is a line with its hashes below it.
packages() {
    awk -v pattern="$2" -v kept="$1" '/^[A-Za-z0-9]/ { match($0, /^[A-Za-z0-9._-]+/); name = substr($0, 1, RLENGTH)
        keep = (name ~ pattern) == (kept != "-v") } keep'
}

of_torch='^(torch|triton|nvidia-.*|cuda-.*)$'
printf '%s\n' "$clsdm_torch" >"$scratch/torch"
# What builds the package itself: it is installed without a build environment of its own, which would have no hashes.
sed -n 's/^requires = \[\(.*\)\]$/\1/p' "$trainer/pyproject.toml" | tr -d '" ' | tr ',' '\n' >"$scratch/build"
printf 'editables\n' >>"$scratch/build"

resolve "$trainer/pyproject.toml" "$scratch/build" --extra cli | packages -v "$of_torch" >"$scratch/cli.txt"
resolve "$trainer/pyproject.toml" "$scratch/build" --extra train --extra bench --extra test |
    packages -v "$of_torch" >"$scratch/test.txt"
resolve "$scratch/torch" | packages '' "$of_torch" >"$scratch/cuda.txt"
printf 'uv\n' >"$scratch/uv"
resolve "$scratch/uv" >"$scratch/uv.txt"
for name in cli test cuda uv; do
    [ -s "$scratch/$name.txt" ] || {
        clsdm_say "lock.sh: nothing was resolved for locks/$name.txt; the files are as they were"
        exit 1
    }
done
mkdir -p "$trainer/locks"
cp "$scratch/cli.txt" "$scratch/test.txt" "$scratch/cuda.txt" "$scratch/uv.txt" "$trainer/locks/"
clsdm_say "Wrote $trainer/locks: $(grep -c '==' "$trainer/locks/test.txt") packages for the tests"
