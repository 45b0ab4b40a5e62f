"""Training and export of a CLS-DM model; running one needs only :mod:`clsdm`.

``stages`` says what each of the three trainings is, ``loop`` runs any of them, ``run`` puts them in order in a folder,
``checks`` refuses what cannot work, and ``recipe`` is what such a run is made of. Scans become training data in ``data``,
``anatomy``, ``augment`` and ``batches``.
"""
