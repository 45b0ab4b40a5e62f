"""X-ray images: reading radiographs, bringing them upright, and the one preprocessing of the network's input."""
