"""六问: who is drawn, what they are asked, how an answer stands against the ledger, and what many answers come to. Pure."""

from .compare import Acknowledged, Contradiction, Evidence, Told, as_of, compare
from .draw import BY_TOWN, Drawn, Member, Sample, draw, frame_digest, frame_text, rank
from .questions import (
    NOT_ASKED,
    NOT_KNOWN,
    AnswerType,
    Question,
    Questionnaire,
    allowed,
    kept,
    passed,
    read,
    understood,
)
from .score import Rate, Scores, Sheet, failed, score, wilson

__all__ = [
    "BY_TOWN",
    "NOT_ASKED",
    "NOT_KNOWN",
    "Acknowledged",
    "AnswerType",
    "Contradiction",
    "Drawn",
    "Evidence",
    "Member",
    "Question",
    "Questionnaire",
    "Rate",
    "Sample",
    "Scores",
    "Sheet",
    "Told",
    "allowed",
    "as_of",
    "compare",
    "draw",
    "failed",
    "frame_digest",
    "frame_text",
    "kept",
    "passed",
    "rank",
    "read",
    "score",
    "understood",
    "wilson",
]
