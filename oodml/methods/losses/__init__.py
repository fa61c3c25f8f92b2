"""The losses: torch modules, called with un-normalised embeddings, labels and a generator.

Their files import torch at the top, so they are imported inside functions only.
"""
