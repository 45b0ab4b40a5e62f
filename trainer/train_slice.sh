#!/bin/sh
# One slice of a training, on a machine that is lent for a while: prepares the store once, trains for some minutes, and leaves in
# OUT what later stages need (best weights, what stages measured, logs, pictures; not the checkpoints, which are three times as large).
#
#     sh trainer/train_slice.sh DATA WORK OUT MINUTES [STAGE ...]
#
# DATA    folder with ct/chest, ct/openkbp and ct/chest_test_only, as scans or as they come; every *.nii.gz is taken
# WORK    folder for the store and the run; keep it between calls
# OUT     folder that travels back
# STAGE   default: autoencoder alignment diffusion
#
# Environment: PYTHON (default python3) has torch and the extra `train`; PRESET (default body128); INIT, a bundle to start from.
# The runs are those of clsdm-train: a stage that is done is left alone, one that was cut goes on to the same bits.
set -eu
[ $# -ge 4 ] || {
    sed -n '2,14s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
data=$1 work=$2 out=$3 minutes=$4
shift 4
[ $# -gt 0 ] || set -- autoencoder alignment diffusion

refuse() { # before hours of preparing
    printf 'train_slice.sh: %s\n' "$1" >&2
    exit 2
}
case $minutes in '' | 0* | *[!0-9]*) refuse "MINUTES: expected a whole number above 0, got '$minutes'" ;; esac
for stage; do
    case $stage in
    autoencoder | alignment | diffusion) ;;
    *) refuse "STAGE: expected autoencoder, alignment or diffusion, got '$stage'" ;;
    esac
done
trainer=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH=$trainer/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
python=${PYTHON:-python3} preset=${PRESET:-body128}
train() { "$python" -m clsdm_trainer.cli "$@"; }

mkdir -p "$work" "$out"
if [ ! -e "$work/store/manifest.json" ]; then
    train prepare --preset "$preset" --out "$work/store" \
        --source "folder:$data/ct/chest,repeats=5" --source "folder:$data/ct/openkbp" --source "folder:$data/ct/chest_test_only"
fi
deadline=$(($(date +%s) + minutes * 60)) code=0
for stage; do
    left=$(((deadline - $(date +%s)) / 60))
    [ "$left" -ge 1 ] || break
    train "$stage" --preset "$preset" --store "$work/store" --run "$work/run" --minutes "$left" ${INIT:+--init "$INIT"} || {
        code=$?
        break
    }
done
# Also after a failure: what earlier stages have learned would go back with the machine.
if [ -d "$work/run" ]; then
    (cd "$work/run" && find . -name 'checkpoint*' -prune -o -name tensorboard -prune -o -type f -print | tar -cf - -T -) |
        tar -xf - -C "$out"
fi
find "$out" -type f -exec ls -l {} +
[ $code -ne 3 ] || code=0 # its time was over: the next slice goes on
exit $code
