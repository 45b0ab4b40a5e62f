"""Colours and wording that the panel's parts share. Tones work on Slicer's light and dark style."""

TONES = {
    "plain": "",
    "muted": "color: #76808a;",
    "good": "color: #2e8b57;",
    "caution": "color: #b8860b;",
    "error": "color: #d04437;",
    "info": "color: #3d7fc4;",
}

NOTICE_STYLE = (
    "QLabel { background: #fff3cd; color: #664d03; border: 1px solid #ffe08a; border-radius: 3px; padding: 4px; }"
)
PRIMARY_STYLE = (
    "QPushButton { font-weight: bold; border-radius: 4px; padding: 6px; color: white; background: #2e7d5b; }"
    "QPushButton:hover { background: #358c67; } QPushButton:pressed { background: #256a4c; }"
    "QPushButton:disabled { background: #8a9690; color: #dfe5e2; }"
)
CANCEL_STYLE = PRIMARY_STYLE.replace("#2e7d5b", "#a8443a").replace("#358c67", "#bb4f44").replace("#256a4c", "#8e382f")
ERROR_STYLE = NOTICE_STYLE.replace("#fff3cd", "#f8d7da").replace("#664d03", "#58151c").replace("#ffe08a", "#f1aeb5")
"""Both say background and text, so that they are read on a light and on a dark style; of labels, since what stands in a
styled frame would not follow the application's colours."""


def setTone(label, tone: str) -> None:
    """Give a label one of :data:`TONES`."""
    label.setStyleSheet(f"QLabel {{ {TONES[tone]} }}")


def elided(text: str, length: int = 34) -> str:
    """A text with its middle left out where it is long."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def sentence(text: str) -> str:
    """A message of the core as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
