"""The networks from X-rays to voxels that a recipe can name. A new one is a file like ``x2ct`` and its two words here."""

from clsdm.model.clsdm import ModelConfig
from clsdm_bench.systems.inrr import INRR3CT, INRRConfig
from clsdm_bench.systems.x2ct import X2CT, X2CTConfig

NetworkConfig = X2CTConfig | INRRConfig
Network = X2CT | INRR3CT
NETWORKS: dict[type[NetworkConfig], type[Network]] = {X2CTConfig: X2CT, INRRConfig: INRR3CT}


def make_network(config: NetworkConfig, model: ModelConfig) -> Network:
    """The network of a baseline for a grid and a detector, with ``training_pair`` and a call on X-rays."""
    return NETWORKS[type(config)](config, model.grid.size, model.detector.size)  # type: ignore[arg-type]
