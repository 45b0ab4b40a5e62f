"""Files written whole or not at all, strict JSON, and what every DICOM file of ours has in common."""
