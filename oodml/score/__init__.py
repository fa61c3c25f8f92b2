"""From embeddings and a split to a score card."""

from oodml.score.card import ScoreCard
from oodml.score.scoring import Subject, score_split, transform
from oodml.score.union import unite

__all__ = ["ScoreCard", "Subject", "score_split", "transform", "unite"]
