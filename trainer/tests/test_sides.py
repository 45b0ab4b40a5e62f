"""A reconstruction comes out the right way round: what is at the patient's left stays there, in the file too."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
import torch
from small_bundle import CENTRE_MM, FINER, initial_weights, small_bundle, small_xrays

from clsdm.app.request import Request, ViewRequest, run
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle, embedded_bundles
from clsdm.reconstruction import Options, reconstruct
from clsdm.simulate import simulate_xrays, write_dx
from clsdm.volume.ct import CTVolume, Grid
from clsdm.xray.preprocess import XRay, prepare
from clsdm.xray.read import read_xray

CPU = {"device": "cpu"}


def shares(gradient: torch.Tensor) -> tuple[float, float]:
    """Which parts of an image's sensitivity (rows, cols) lie in its right and in its top half."""
    energy, (rows, cols) = gradient.square(), gradient.shape
    return float(energy[:, cols // 2 :].sum() / energy.sum()), float(energy[: rows // 2].sum() / energy.sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_a_voxel_listens_to_the_part_of_each_image_that_shows_it(seed, tmp_path, asymmetric_phantom):
    model = small_bundle(tmp_path / "b", FINER, initial_weights(FINER, seed)).model()
    for name, xray in zip("ab", small_xrays(asymmetric_phantom), strict=True):
        write_dx(xray, tmp_path / f"{name}.dcm")
    images, cameras = prepare(
        [read_xray(tmp_path / f"{name}.dcm") for name in "ab"], model.config.detector, torch.device("cpu")
    )
    images.requires_grad_(True)
    mean = model.align(images, cameras).mean[0]  # (C, z, y, x) on the latent grid of 8 voxels
    for (z, y, x), left, anterior, superior in (((6, 1, 6), True, True, True), ((1, 6, 1), False, False, False)):
        (gradient,) = torch.autograd.grad(mean[:, z, y, x].square().sum(), images, retain_graph=True)
        frontal, lateral = shares(gradient[0, 0, 0]), shares(gradient[0, 1, 0])
        assert (frontal[0] > 0.8) if left else (frontal[0] < 0.2), "the patient's left is at the PA image's right"
        assert (lateral[0] < 0.2) if anterior else (lateral[0] > 0.8), "anterior is at the lateral's left"
        for share in (frontal[1], lateral[1]):
            assert (share > 0.8) if superior else (share < 0.2), "superior is at the top"


def centre_of_change_mm(files: tuple[str, str]) -> np.ndarray:
    """LPS position, by the files' own affine as ITK reads it, about which two volumes differ.

    A landmark is spread along its frontal and along its lateral ray; along each axis it is where the change stands out
    from what the other ray adds everywhere.
    """
    images = [sitk.ReadImage(str(file)) for file in files]
    change = np.square(np.subtract(*(sitk.GetArrayFromImage(image).astype(float) for image in images)))
    index = []
    for axis in range(3):
        profile = change.sum(axis=tuple(other for other in range(3) if other != axis))
        peak = (profile - np.quantile(profile, 0.75)).clip(0.0)
        index.append(float((peak * np.arange(len(peak))).sum() / peak.sum()))
    return np.array(images[0].TransformContinuousIndexToPhysicalPoint(index[::-1]))


def test_an_asymmetric_phantom_comes_out_the_right_way_round(tmp_path, asymmetric_phantom):
    """project -> X-ray files -> reconstruct -> volume file, with each of the phantom's two landmarks taken away.

    Untrained weights make no picture of the phantom, but only geometry can tell them where a landmark is: what it
    changes lies about the place where its rays cross.
    """
    bundle = small_bundle(tmp_path / "bundle", FINER, initial_weights(FINER))
    body = asymmetric_phantom.hu.clip(None, 40.0)
    upper = np.arange(64)[:, None, None] >= 32
    written = {}
    for name, volume in (
        ("neither", body),
        ("ball", np.where(upper, asymmetric_phantom.hu, body)),  # left, anterior, superior
        ("box", np.where(upper, body, asymmetric_phantom.hu)),  # right, posterior, inferior
    ):
        ct = replace(asymmetric_phantom, hu=volume.astype(np.float32), origin_mm=tuple(
            at + shift for at, shift in zip(asymmetric_phantom.origin_mm, CENTRE_MM, strict=True)
        ))  # fmt: skip
        views = []
        for xray in small_xrays(ct, centre_mm=CENTRE_MM):
            file = tmp_path / f"{name}{xray.view.angle_deg:g}.dcm"
            write_dx(xray, file, patient_key="one")
            views.append(ViewRequest(str(file)))
        out = tmp_path / f"{name}.nii.gz"
        run(Request(tuple(views), str(out), str(bundle.path), options=Options(**CPU)))
        written[name] = str(out)
    ball, box = (centre_of_change_mm((written[name], written["neither"])) - CENTRE_MM for name in ("ball", "box"))
    np.testing.assert_allclose(ball, (55.0, -35.0, 70.0), atol=12.0)  # LPS
    np.testing.assert_allclose(box, (-60.0, 30.0, -80.0), atol=12.0)


def test_the_file_puts_every_voxel_where_the_isocentre_of_the_x_rays_says(films, small_model, tmp_path):
    views = tuple(ViewRequest(str(films / f"{name}.dcm")) for name in ("frontal", "lateral"))
    result, files = run(Request(views, str(tmp_path / "r.nii.gz"), str(small_model.path), options=Options(**CPU)))
    itk, ras = sitk.ReadImage(files["volume"]), nibabel.load(files["volume"])
    assert result.volume.hu.std() > 50.0
    for index in ((0, 0, 0), (15, 0, 3), (2, 11, 14)):  # i, j, k
        lps = np.array(CENTRE_MM) + (np.array(index) - 7.5) * 24.0
        assert itk.TransformIndexToPhysicalPoint(index) == pytest.approx(lps, abs=1e-3)
        assert (ras.affine @ [*index, 1])[:3] == pytest.approx(lps * (-1, -1, 1), abs=1e-3)
        i, j, k = index
        assert float(ras.dataobj[i, j, k]) == itk[index] == pytest.approx(result.volume.hu[k, j, i], abs=0.51)
    for role in ("coverage",):
        assert sitk.ReadImage(files[role]).GetOrigin() == itk.GetOrigin()


def mirrored(xray: XRay) -> XRay:
    """The X-ray of the patient's mirror image (left for right) with the same machine."""
    frontal = abs(xray.view.angle_deg) < 45.0
    return replace(xray, image=xray.image[:, ::-1].copy()) if frontal else xray


def thorax() -> CTVolume:
    """A torso with spine, lungs of different size, and a heart and a liver that are not in the middle."""
    grid = Grid(64, 6.0)
    axis = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")

    def inside(centre: tuple[float, float, float], half: tuple[float, float, float]) -> np.ndarray:
        parts = zip((x, y, z), centre, half, strict=True)
        return sum(((at - middle) / radius) ** 2 for at, middle, radius in parts) < 1

    volume = np.where((x / 165) ** 2 + (y / 110) ** 2 < 1, 20.0, -1000.0)
    volume[inside((-75, 0, 40), (55, 75, 120)) | inside((75, 0, 40), (50, 70, 110))] = -850.0
    volume[inside((35, -30, 0), (55, 50, 60))] = 40.0  # heart, at the left
    volume[inside((-60, -5, -90), (90, 85, 60))] = 60.0  # liver, at the right
    volume[(x**2 + (y - 75) ** 2) < 20**2] = 350.0
    return CTVolume.on_grid(volume, grid)


@pytest.mark.parametrize("name", embedded_bundles())
def test_an_embedded_model_puts_a_patient_at_the_left_to_the_left_and_its_mirror_image_to_the_right(name):
    bundle = Bundle.open(name)
    views = [PRESETS["chest"].view(angle, 216) for angle in (0.0, 90.0)]
    xrays = simulate_xrays(thorax(), views, (-45.0, 0.0, 0.0))  # the isocentre lies to the patient's right
    straight, flipped = (
        reconstruct(each, bundle, Options(**CPU)).volume.hu for each in (xrays, [mirrored(xray) for xray in xrays])
    )
    to_mirror = np.abs(flipped - straight[:, :, ::-1]).mean()
    to_itself = np.abs(flipped - straight).mean()
    assert to_mirror < 0.7 * to_itself, (
        f"mean difference {to_mirror:.0f} HU to the mirror image, {to_itself:.0f} HU unmirrored"
    )
    grid = bundle.manifest.model.grid
    x_mm = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm  # x runs to the left
    density = straight + 1024.0
    assert 20.0 < (density * x_mm).sum() / density.sum() < 70.0
