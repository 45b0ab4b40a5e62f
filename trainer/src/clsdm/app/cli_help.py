"""The end of ``clsdm --help``: examples and exit codes."""

EXIT_CODES = """\
exit codes:
  0  done
  1  a defect of this program (please report the traceback)
  2  the input or the call cannot be used; the last line on standard error says why
  3  cancelled (Ctrl-C or SIGTERM); no partial file is left
"""

OVERVIEW = """\
examples:
  clsdm project ct.nii.gz --preset chest --out xrays
  clsdm reconstruct --frontal xrays/frontal.dcm --lateral xrays/lateral.dcm --out r.nii.gz
  clsdm pacs --url https://pacs.example.org/dicom-web --accession 4711 --out results
  clsdm compare r.nii.gz ct.nii.gz --out report
  clsdm measure r.nii.gz
  clsdm bundle info
"""

PROJECT = """\
examples:
  clsdm project ct.nii.gz --out xrays                          frontal.dcm, lateral.dcm and a PNG of each
  clsdm project dicom_folder --preset c-arm --angles -30 0 30 90 --out xrays
  clsdm project dicom_folder --preset localizer --angles 180 -90 --out scouts
"""

RECONSTRUCT = """\
examples:
  clsdm reconstruct --frontal pa.dcm --lateral lat.dcm --out r.nii.gz
  clsdm reconstruct --frontal pa.png --lateral lat.png --spacing 0.4 --source-detector 1800 --out r.nii.gz
  clsdm reconstruct --frontal pa.jpg --lateral lat.tif --frontal-spacing 0.17 --lateral-spacing 0.2 --out r.nii.gz
  clsdm reconstruct --view a.dcm:-30 --view b.dcm:60 --product ensemble --samples 16 --out r.nii.gz
  clsdm reconstruct --localizers ct_folder --out r.nii.gz      the scouts of a CT, in the CT's own coordinates
  clsdm reconstruct --frontal pa.dcm --lateral lat.dcm --out r.nii.gz --dicom series --keep-patient
  clsdm reconstruct request.json                               the same for a calling program; JSON lines on stdout
  clsdm reconstruct --table patients.csv --out results         many patients; results/index.html shows them all
  clsdm reconstruct --studies dicom_tree --out results         the best pair of X-rays of each study in the tree
  torchrun --nproc-per-node 8 -m clsdm reconstruct --table patients.csv --out results      on eight GPUs

angles: 0 is PA, 180 AP, 90 a left lateral, -90 a right lateral; --view overrules the file, --frontal and --lateral
do not. Beside R.nii.gz (HU) stand R_coverage.nii.gz (views that saw each voxel), R_spread.nii.gz (of an ensemble)
and R.json (residuals, warnings, provenance). --dicom DIR gets a CT series and a picture of it, of nobody unless
--keep-patient. --refine finds how the views after the first were really taken (angle, tilt, height, distance), says so
in notes, and leaves the found geometry in R.json; it takes about twenty reconstructions.
Out of a PACS and into it: clsdm pacs --help. For another engine (ONNX): clsdm bundle export. On another computer, for
3D Slicer: clsdm serve --listen.
The same from Python: import clsdm; clsdm.reconstruct("pa.dcm", "lat.dcm").save("out/").
"""

SERVE = """\
examples:
  clsdm serve --folder F                                       for a program of this computer; see clsdm/app/worker.py
  clsdm serve --listen 0.0.0.0:8765 --cert server.pem --cert-key server.key --key-file clients.key
                                                               for 3D Slicer on other computers
  clsdm serve --folder F --server https://host:8765 --key-file clients.key      a worker that has the server do its work

The key comes from its file, or from CLSDM_KEY; it is never printed. A server writes a line for each request to standard
error, without names. Without --cert it listens to its own computer only. Ctrl-C or SIGTERM ends it, with 0.
"""

PACS = """\
examples:
  clsdm pacs --url https://pacs.example.org/dicom-web --accession 4711 --out results
  clsdm pacs --url https://pacs.example.org/dicom-web --date 20260131 --out results --no-store     look first
  clsdm pacs --url http://localhost:8042/dicom-web --study 1.2.3 --out results                     a tunnel's end

credentials: CLSDM_PACS_USER and CLSDM_PACS_PASSWORD, or CLSDM_PACS_TOKEN (bearer), in the environment, or the host in
~/.netrc (NETRC names another file). None is ever printed, nor any patient's name or UID. The connection is encrypted and
the certificate verified. The result is a CT series and a picture in the study of its X-rays, marked derived and for
research only; its UIDs follow from what was asked for, and only what the PACS does not hold yet is sent, so that the same
command goes on after a cut and stores nothing twice. The pulled X-rays are removed at the end. DIR/dicom names the patient.
"""

COMPARE = """\
examples:
  clsdm compare r.nii.gz ct.nii.gz --out report                against the true CT, and against the X-rays
  clsdm compare r.nii.gz ct_folder --out report                a volume from localizers against their own scan
  clsdm compare r.nii.gz --out report                          against the X-rays alone, named in r.json
"""

MEASURE = """\
examples:
  clsdm measure r.nii.gz                                       with intervals, where the model knows its errors
  clsdm measure r.nii.gz --truth ct.nii.gz                     the CT beside it, over the same heights
  clsdm measure ct.nii.gz                                      a CT alone

What cannot be measured is said with the reason, never guessed. Positions are mm LPS.
"""

BUNDLE = """\
examples:
  clsdm bundle list                                            the embedded models, the default first
  clsdm bundle info openkbp64                                  one of them, or a folder or archive of yours
  clsdm bundle verify my_model.zip
  clsdm bundle export --onnx mean.onnx                         two X-rays and their cameras -> CT in the unit range
  clsdm bundle export my_model.zip --network decode --onnx decode.onnx

An ONNX file holds its weights, licence and model; where onnxruntime is installed it is compared with torch, and kept
only if they agree to 0.001. Its inputs come from clsdm.engines.inputs_of (docs/howto.md, ONNX).
"""

SERIES = "SeriesNumber or SeriesInstanceUID to take from a DICOM folder with several series"
