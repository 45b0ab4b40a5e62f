"""An independent check of the physics: X-rays of the same CT by gvxr (polychromatic, OpenGL) in place of ours.

Our projections are line integrals of attenuation at one energy. Here gVirtualXRay (``pip install gvxr``; nothing depends on
it) computes what an energy-integrating detector measures behind 3 mm of aluminium at 120 kV: the CT becomes nested surfaces,
each adding what its material attenuates at every energy, water up to 150 HU and bone mineral above. The model's ``mean``
is made from both and compared with the CT; the bar is a loss of at most 0.8 dB.

    python trainer/benchmarks/physics.py CT [CT ...] [--bundle B] [--preset chest] [--spacing 3] [--json FILE]

gvxr takes Mesa's software renderer (``LIBGL_ALWAYS_SOFTWARE=1``) and an EGL context, so no GPU and no screen are needed; on
Debian its window functions want libxcb-res0, -ewmh2, -composite0, -xinerama0, -keysyms1 and -icccm4.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

KV, ALUMINIUM_CM, ALUMINIUM_DENSITY = 120.0, 0.3, 2.699
ALUMINIUM_CM2_G = {20: 3.441, 30: 1.128, 40: 0.5685, 50: 0.3681, 60: 0.2778, 80: 0.2018, 100: 0.1704, 150: 0.1378}
"""Mass attenuation by keV (NIST)."""
BINS_KEV = range(25, 120, 5)

WATER_HU = (-850.0, -700.0, -500.0, -250.0, -60.0, 0.0, 40.0, 100.0, 150.0)
BONE_HU = (300.0, 500.0, 800.0, 1200.0)
"""The values that the nested surfaces stand for; a surface lies halfway to the value before."""
WATER, BONE = "H2O", "Ca10P6O26H2"
BONE_PER_HU = 1.0 / 2200.0
"""Density of bone mineral, in g/cm3, that adds one HU at the beam's effective energy of about 60 keV."""
MESH_MM = 3.0
BAR_DB = 0.8


def spectrum() -> list[tuple[float, float]]:
    """(keV, photons) of Kramers' law behind the filter."""
    energies = np.array(sorted(ALUMINIUM_CM2_G))
    known = np.log([ALUMINIUM_CM2_G[energy] for energy in energies])
    bins = np.array(list(BINS_KEV), dtype=float)
    filtered = np.exp(-np.exp(np.interp(np.log(bins), np.log(energies), known)) * ALUMINIUM_DENSITY * ALUMINIUM_CM)
    photons = (KV / bins - 1.0) * filtered
    return [(float(kev), float(count)) for kev, count in zip(bins, 1e9 * photons / photons.sum(), strict=True)]


def surfaces(hu: np.ndarray, spacing_mm: float) -> list[tuple[str, float, np.ndarray, np.ndarray]]:
    """(compound, density it adds in g/cm3, vertices in mm from the middle, triangles) of each value."""
    from skimage.measure import marching_cubes

    padded = np.pad(hu, 1, constant_values=-1000.0)
    middle = (np.array(padded.shape) - 1) / 2
    found, before = [], -1000.0
    for value in (*WATER_HU, *BONE_HU):
        level = (before + value) / 2
        if padded.max() > level:
            vertices, triangles, _, _ = marching_cubes(padded, level)
            points = ((vertices - middle) * spacing_mm)[:, ::-1]  # (z, y, x) -> (x, y, z)
            compound, density = (WATER, 1e-3) if value <= WATER_HU[-1] else (BONE, BONE_PER_HU)
            found.append((compound, (value - before) * density, points, triangles[:, ::-1]))  # facing outwards
        before = value
    return found


def render(source: Path, out: Path) -> None:
    """In a process of its own, since gvxr writes to the console: X-rays of the volume in ``source`` to ``out``."""
    from gvxrPython3 import gvxr

    given = np.load(source)
    gvxr.createNewContext("EGL", 3, 2)
    for kev, photons in spectrum():
        gvxr.addEnergyBinToSpectrum(kev, "keV", photons)
    for at, (compound, density, points, triangles) in enumerate(surfaces(given["hu"], float(given["spacing_mm"]))):
        name = f"surface{at}"
        gvxr.makeTriangularMesh(name, points.astype(np.float32).ravel(), triangles.astype(np.int32).ravel(), "mm")
        gvxr.setCompound(name, compound)
        gvxr.setDensity(name, density, "g/cm3")
        gvxr.addPolygonMeshAsInnerSurface(name)
    images = []
    for position, centre, right, down, (rows, cols, row_mm, col_mm) in zip(
        *(given[key] for key in ("source", "centre", "right", "down", "panel")), strict=True
    ):
        gvxr.setSourcePosition(*(float(value) for value in position), "mm")
        gvxr.usePointSource()
        gvxr.setDetectorPosition(*(float(value) for value in centre), "mm")
        gvxr.setDetectorUpVector(*(-float(value) for value in down))
        gvxr.setDetectorRightVector(*(float(value) for value in right))
        gvxr.setDetectorNumberOfPixels(int(cols), int(rows))
        gvxr.setDetectorPixelSize(float(col_mm), float(row_mm), "mm")
        measured = np.array(gvxr.computeXRayImage(True), dtype=np.float64)
        whole = sum(kev * 1e-3 * photons for kev, photons in spectrum())
        images.append(-np.log(np.clip(measured[::-1] / whole, 1e-9, None)))  # its first row is the lowest
    np.savez(out, images=np.array(images, dtype=np.float32))
    gvxr.terminate()


def by_gvxr(ct, views, centre_mm) -> list[np.ndarray]:
    """(rows, cols) -log of the measured fraction in each view, by gvxr in a process of its own."""
    import SimpleITK as sitk  # noqa: N813 - the usual name

    from clsdm.geometry.cameras import Cameras

    half = np.abs(ct.direction) @ (np.array(ct.hu.shape[::-1]) * np.array(ct.spacing_mm)) / 2
    reach = half + np.abs(np.array(ct.centre_mm) - np.array(centre_mm))
    count = np.ceil(2 * reach / MESH_MM).astype(int)
    first = np.array(centre_mm) - (count - 1) / 2 * MESH_MM
    box = sitk.Resample(
        sitk.SmoothingRecursiveGaussian(ct.to_sitk(), MESH_MM / 2), count.tolist(), sitk.Transform(), sitk.sitkLinear,
        first.tolist(), [MESH_MM] * 3, np.eye(3).ravel().tolist(), -1000.0,
    )  # fmt: skip
    cameras = Cameras.from_views([list(views)])
    vectors = {name: getattr(cameras, name)[0].numpy() for name in ("source", "centre", "right", "down")}
    panel = np.array([(view.rows, view.cols, *view.pixel_mm) for view in views])
    with tempfile.TemporaryDirectory(prefix="gvxr-") as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        np.savez(given, hu=sitk.GetArrayFromImage(box), spacing_mm=MESH_MM, panel=panel, **vectors)
        called = [sys.executable, __file__, "--render", str(given), str(made)]
        done = subprocess.run(called, capture_output=True, text=True, check=False,
                              env=os.environ | {"LIBGL_ALWAYS_SOFTWARE": "1"})  # fmt: skip
        if not made.is_file():
            sys.exit(f"gvxr made no images:\n{(done.stderr or done.stdout)[-2000:]}")
        return list(np.load(made)["images"])


def compared(path: Path, bundle, preset: str, spacing_mm: float, pixels: int) -> dict[str, float | str]:
    """PSNR of ``mean`` from our projections and from gvxr's, and how alike the images are."""
    from dataclasses import replace

    from clsdm.geometry.view import PRESETS
    from clsdm.reconstruction import Options, reconstruct
    from clsdm.simulate import simulate_xrays
    from clsdm.volume.body import body_centre_mm
    from clsdm.volume.read import read_ct
    from clsdm_bench.measures.covered import figures_of, paired

    ct = read_ct(path)
    centre = body_centre_mm(ct)
    views = [PRESETS[preset].view(angle, pixels) for angle in (0.0, 90.0)]
    ours = simulate_xrays(ct, views, centre)
    images = by_gvxr(ct, views, centre)
    theirs = [
        replace(xray, image=image, source=f"gvxr of {path.name}") for xray, image in zip(ours, images, strict=True)
    ]
    row: dict[str, float | str] = {"case": path.name}
    for name, xrays in (("ours", ours), ("gvxr", theirs)):
        volume = reconstruct(xrays, bundle, Options(device="cpu", measure=False)).volume
        figures = figures_of(paired(volume, ct, spacing_mm))
        row[f"{name}_psnr_db"], row[f"{name}_lung_dice"] = figures["psnr_db"], figures["lung_dice"]
    alike = [np.corrcoef(a.image.ravel(), b.image.ravel())[0, 1] for a, b in zip(ours, theirs, strict=True)]
    return row | {"correlation": float(min(alike))}


def main() -> None:
    if sys.argv[1:2] == ["--render"]:
        render(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="+", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--preset", default="chest")
    parser.add_argument("--spacing", type=float, default=3.0, help="voxels on which volumes are compared, in mm")
    parser.add_argument("--pixels", type=int, default=216, help="of the panel's edge")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from clsdm.model.bundle import Bundle

    bundle = Bundle.open(options.bundle)
    print(f"{'case':32s} ours dB  gvxr dB    loss   correlation of the X-rays")
    rows = []
    for path in options.ct:
        row = compared(path, bundle, options.preset, options.spacing, options.pixels)
        rows.append(row)
        ours, theirs = row["ours_psnr_db"], row["gvxr_psnr_db"]
        print(
            f"{row['case']:32s} {ours:7.2f}  {theirs:7.2f}  {ours - theirs:6.2f}   {row['correlation']:.4f}", flush=True
        )
    loss = float(np.mean([row["ours_psnr_db"] - row["gvxr_psnr_db"] for row in rows]))
    print(f"mean loss {loss:.2f} dB (bar: at most {BAR_DB} dB)")
    if options.json is not None:
        options.json.write_text(
            json.dumps({"model": bundle.manifest.id, "rows": rows, "loss_db": loss}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
