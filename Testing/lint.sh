#!/bin/sh
# The linters, with the one configuration in trainer/pyproject.toml: `sh Testing/lint.sh [ruff|format|mypy|codespell|pydoclint ...]`.
# Without a name: all of them. Called by Testing/run.sh and by pre-commit.
set -u
case ${1:-} in -h | --help)
    sed -n '2,3s/^# //p' "$0"
    exit
    ;;
esac
cd "$(dirname "$0")/.." || exit
trainer=$PWD/trainer
config=$trainer/pyproject.toml
# shellcheck source=trainer/setup.sh
. "$trainer/setup.sh"
venv=${CLSDM_VENV:-$PWD/.venv}
clsdm_setup "$venv" train,bench,test || exit
bin=$venv/bin

# pydoclint without its calls for sections: a docstring says what its signature does not, but what it says
# must be true. Left are arguments, returns and yields that do not exist, and arguments in another order.
docstrings() {
    found=$("$bin/pydoclint" --config "$config" trainer/src 2>&1)
    case $? in
    0 | 1) ;;
    *)
        printf '%s\n' "$found"
        return 1
        ;;
    esac
    ! printf '%s\n' "$found" | grep -E 'DOC(00|102|104|202|402)|DOC103.*in the docstring but not in'
}

one() {
    case $1 in
    ruff) "$bin/ruff" check --quiet --config "$config" . ;;
    format) "$bin/ruff" format --quiet --check --config "$config" . ;;
    mypy) "$bin/mypy" --config-file "$config" --no-error-summary ;;
    codespell) "$bin/codespell" --toml "$config" . ;;
    pydoclint) docstrings ;;
    *)
        printf 'lint.sh: no linter named %s\n' "$1" >&2
        return 2
        ;;
    esac
}

[ $# -gt 0 ] || set -- ruff format mypy codespell pydoclint
failed=0
for tool; do
    if one "$tool"; then
        printf 'ok      %s\n' "$tool"
    else
        printf 'FAILED  %s\n' "$tool"
        failed=1
    fi
done
exit $failed
