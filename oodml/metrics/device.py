"""How retrieval is computed: on a device, in full float32, on one pool of threads."""

from oodml.embed.device import check_device, exact_arithmetic, in_threads

__all__ = ["check_device", "exact_arithmetic", "in_threads"]
