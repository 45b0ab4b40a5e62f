"""The networks, the process that draws latents, and the bundle in which a trained model is kept."""
