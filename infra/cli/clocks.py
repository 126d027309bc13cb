"""Whether two clocks agree."""

from __future__ import annotations

from infra.cli.findings import Check, Verdict
from pipeline.database.clock import NOTABLE_S

# Seconds. A signed request may be 300 s off, an S3 store takes 15 minutes.
WRONG_S = 5.0


def clock_check(ahead_s: float, whose: str) -> Check:
    """Whether a clock that is ``ahead_s`` seconds ahead of the one that counts is right."""
    off = abs(ahead_s)
    said = f"the clock of {whose} agrees" if off < NOTABLE_S else (
        f"the clock of {whose} is {off:.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    )
    verdict = Verdict.GOOD if off < NOTABLE_S else Verdict.BAD if off >= WRONG_S else Verdict.NOTE
    advice = "" if verdict is Verdict.GOOD else "let every machine keep its clock by NTP"
    return Check("clock", verdict, said, advice)
