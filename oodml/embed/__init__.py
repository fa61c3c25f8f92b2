"""From images to vectors: encoders, extraction, the embedding file and its cache."""

from oodml.embed.embeddings import EmbeddingSet, read_embeddings, write_embeddings
from oodml.embed.extract import embed_data
from oodml.embed.sources import ENCODERS, open_encoder
from oodml.embed.spec import Encoder, EncoderSpec

__all__ = [
    "ENCODERS",
    "EmbeddingSet",
    "Encoder",
    "EncoderSpec",
    "embed_data",
    "open_encoder",
    "read_embeddings",
    "write_embeddings",
]
