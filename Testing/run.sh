#!/bin/sh
# Every check: linters, then every test. `sh Testing/run.sh [--no-lint] [pytest option, file or folder ...]`, for example
# -k projector, -m 'not slow' or trainer/tests/files; --no-lint leaves the linters out (Testing/lint.sh runs them alone).
# Makes its own virtual environment (CLSDM_VENV, default .venv in the repository, 3 GB). Everything runs even when something
# before it failed; the exit status is 0 only when nothing did.
set -u
lint=yes
case ${1:-} in
-h | --help)
    sed -n '2,5s/^# //p' "$0"
    exit
    ;;
--no-lint)
    lint=no
    shift
    ;;
esac
testing=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$testing")
trainer=$repository/trainer

# Paths may be those of the current folder or of trainer/, where pytest is started.
before=''
for word; do
    shift
    place=${word%%::*}
    case $before:$word in
    -[kmnp]:* | *:-* | *:/*) ;; # the value of an option, an option, a whole path
    *)
        if [ -e "$place" ]; then
            case $place in */* | *.py | Testing | trainer | tests) word=$PWD/$word ;; esac
        elif [ ! -e "$trainer/$place" ]; then
            case $before:$place in
            -*) ;;
            */* | *.py)
                printf 'run.sh: no such file or folder: %s (looked for in %s and in %s)\n' "$place" "$PWD" "$trainer" >&2
                exit 2
                ;;
            esac
        fi
        ;;
    esac
    before=$word
    set -- "$@" "$word"
done

# shellcheck source=trainer/setup.sh
. "$trainer/setup.sh"
CLSDM_VENV=${CLSDM_VENV:-$repository/.venv}
case $CLSDM_VENV in /*) ;; *) CLSDM_VENV=$PWD/$CLSDM_VENV ;; esac
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # as in conftest.py: small tensors gain nothing from more
export CLSDM_VENV OMP_NUM_THREADS
clsdm_setup "$CLSDM_VENV" train,bench,test || exit

summary='' failed=0
if [ $lint = yes ]; then
    summary=$(sh "$testing/lint.sh" 2>&1)
    failed=$?
    printf '%s\n' "$summary"
fi
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
processes=$((cores < 4 ? cores : 4)) # each takes up to 3 GB
cd "$trainer" || exit # where pytest's configuration is; it names the folders with tests
# A file's tests stay in one process, and in their order. -n0, given as an option, runs all in one.
if "$CLSDM_VENV/bin/python" -m pytest -n "$processes" --dist loadfile "$@"; then
    tests='ok      pytest'
else
    tests='FAILED  pytest'
    failed=1
fi
printf '\n%s\n%s\n' "$(printf '%s\n' "$summary" | grep -E '^(ok|FAILED) ')" "$tests"
exit "$failed"
