"""What it takes to train, judge and export a CLS-DM model; running one needs only :mod:`clsdm`."""
