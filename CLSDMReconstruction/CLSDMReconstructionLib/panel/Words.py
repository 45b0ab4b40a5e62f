"""Words of the section "Result" about a reconstruction: the core's, with the numbers that belong to them."""

from html import escape

from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.xrays.Inputs import viewName

_VERDICTS = {
    "good": "The volume explains its X-rays.",
    "caution": "The volume explains its X-rays only in part: check spacing, distances, orientation and angles.",
    "error": "The volume does not explain its X-rays: do not trust it.",
}
_VERDICTS_THEN = {
    "good": "When it was made, the volume explained its X-rays.",
    "caution": "When it was made, the volume explained its X-rays only in part: spacing, distances, orientation or angles "
    "may have been wrong.",
    "error": "When it was made, the volume did not explain its X-rays: do not trust it.",
}
_SHORT = {"good": "good", "caution": "in part", "error": "do not trust"}


def verdict(residuals: list[dict], *, isShown: bool = True) -> tuple[str, str]:
    """(a sentence on the whole, its tone); the worst view decides. ("", "plain") where nothing is known.

    Args:
        residuals: of each X-ray.
        isShown: whether the X-rays stand beside it, so that who reads it can see for himself; a scene does not keep them.
    """
    ensureCore()
    from clsdm.quality.agreement import Agreement

    found = [Agreement(each["rmse"], each["correlation"]) for each in residuals]
    if not found:
        return "", "plain"
    tone = (
        "error" if any(each.disagrees for each in found)
        else "caution" if any(each.doubtful for each in found)
        else "good"
    )  # fmt: skip
    return _((_VERDICTS if isShown else _VERDICTS_THEN)[tone]), tone


def madeFromOthers() -> tuple[str, str]:
    """(a sentence, its tone) of a result that is not of what stands beside it, in place of a verdict."""
    return _("Made from other X-rays, or another geometry, than the slots hold now."), "caution"


def shortVerdict(tone: str) -> str:
    """The sentence of this tone in a word or three, for a cell of a table."""
    return _(_SHORT[tone])


def residualInWords(residual: dict) -> str:
    """The core's verdict on how well the reconstruction explains one of its X-rays, and what to do about a bad one."""
    ensureCore()
    from clsdm.quality.agreement import Agreement

    agreement = Agreement(residual["rmse"], residual["correlation"])
    advice = " Check spacing, distances, orientation and angle of this X-ray." if agreement.doubtful else ""
    return f"X-ray {viewName(residual['angle_deg'])} and the reconstruction projected like it. {agreement}{advice}"


def numbersHtml(measures: dict | None) -> str:
    """The measures of the volume, each with its interval below it where the model has one, after what speaks against
    relying on them and before what cannot be had, with the reason; "" where nothing was measured.
    """
    if not measures or not (measures.get("values") or measures.get("not_measurable")):
        return ""
    ensureCore()
    from clsdm.quality.quantities import NOT_MEASURABLE, before, footnote, missing, remarked_once, rows

    remark, made = remarked_once(rows(measures))
    lines = "".join(
        f"<tr><td>{escape(row.label)}&nbsp;</td><td align=right><b>{escape(row.value).replace(' ', '&nbsp;')}</b></td></tr>"
        + (row.interval and f"<tr><td colspan=2><small>{escape(row.interval)}</small></td></tr>")
        for row in made
        if row.value != NOT_MEASURABLE
    )
    doubts = "".join(f"<p><b>{escape(line)}</b></p>" for line in before(measures))
    why = "".join(f"<p><small>{escape(line)}</small></p>" for line in [*remark, *missing(made)])
    return f"{doubts}<table>{lines}</table>{why}<p>{escape(footnote(measures))}</p>"


def provenanceText(result) -> str:
    """Model, product, device, seed and time in one line."""
    made = result.provenance
    parts = [made.get("model", ""), made.get("product", ""), made.get("device", "")]
    if made.get("seed") is not None:
        parts.append(_("seed {seed}").format(seed=made["seed"]))
    seconds = result.seconds.get("total") or result.seconds.get("core")
    if seconds:
        parts.append(f"{seconds:.1f} s")
    return " · ".join(part for part in parts if part)
