"""From embeddings and a split to a score card."""

from oodml.score.card import ScoreCard
from oodml.score.roles import describe_roles, role_masks, uses_roles
from oodml.score.scoring import Subject, score_split, transform
from oodml.score.union import unite

__all__ = [
    "ScoreCard",
    "Subject",
    "describe_roles",
    "role_masks",
    "score_split",
    "transform",
    "unite",
    "uses_roles",
]
