"""Where source, detector and voxels are: views, cameras, projector. Coordinates are LPS millimetres around the isocentre."""
