"""``faceline living``: the liveness verdict on one clip, with a plot of its evidence."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import cv2
import typer

from infra.cli.console import print_json, print_line, print_notice
from infra.cli.database import pack_here
from infra.cli.living_plot import draw
from infra.cli.reports import check_place
from pipeline.calibration.passive import passive_calibration
from pipeline.calibration.table import load_table
from pipeline.config.settings import Settings, load_settings
from pipeline.errors import InvalidParameter, ManyFaces, NoFace, Uncalibrated
from pipeline.execution.living import verdict_json
from pipeline.living.challenge import RequestedOrder
from pipeline.living.decision import DecisionPolicy
from pipeline.living.options import LivingOptions
from pipeline.living.tracking import observe_clip
from pipeline.living.verdict import ASKED_ALONE, LivenessAction, LivenessVerdict
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import open_sandbox
from pipeline.sessions import registry
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.clip import DECODE_FUNCTION
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.types import Embedding, Picture


def _action(
    text: str, known: Iterable[LivenessAction] = ASKED_ALONE, option: str = "--action"
) -> LivenessAction:
    """Parses an action by its name or number."""
    named = {str(int(action)): action for action in known}
    named |= {action.name.lower(): action for action in known}
    if text.lower() not in named:
        raise typer.BadParameter(
            f"{text!r} is none of: {', '.join(named)}", param_hint=f"'{option}'"
        )
    return named[text.lower()]


def _requested(
    action: str, challenge: str | None, mirrored: bool
) -> LivenessAction | RequestedOrder:
    if challenge is None:
        return _action(action)
    names = challenge.replace(" ", "").split(",")
    actions = (_action(name, tuple(LivenessAction), "--challenge") for name in names)
    return RequestedOrder(tuple(actions), mirrored)


def living(
    clip: Annotated[
        Path, typer.Argument(help="MP4, WebM, AVI or MOV.", exists=True, dir_okay=False)
    ],
    face: Annotated[
        Path | None,
        typer.Option(
            help="A photo of the person who should be in it.", exists=True, dir_okay=False
        ),
    ] = None,
    action: Annotated[
        str, typer.Option(metavar="blink|mouth", help="What was asked for; also 1 and 2.")
    ] = "blink",
    challenge: Annotated[
        str | None,
        typer.Option(
            metavar="ACTION,ACTION,...",
            help="Several actions in this order instead: blink, mouth, turn_left, turn_right, nod.",
        ),
    ] = None,
    mirrored: Annotated[
        bool, typer.Option("--mirrored", help="The clip shows the person as a mirror does.")
    ] = False,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Distance of a match.")] = 0.6,
    plot: Annotated[
        Path | None, typer.Option(help="Draw lids, mouth, head, identity and passive score (PNG).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, the timeline too.")] = False,
) -> None:
    """Judge whether a clip shows a live person who performs the requested action. Needs no
    running service."""
    asked = _requested(action, challenge, mirrored)
    if plot is not None:
        check_place(plot)
    settings = load_settings()
    pack = registry.load(pack_here(settings), settings)
    verdict = _judge(settings, pack, clip, face, asked, threshold)
    if plot is not None:
        _write(plot, draw(verdict))
    if json:
        print_json(verdict_json(verdict))
        return
    _tell(verdict)
    if plot is not None:
        print_notice(f"The plot is in {plot}.")


def _write(plot: Path, drawing: Picture) -> None:
    """Writes a PNG, even if the file's name has another ending."""
    done, data = cv2.imencode(".png", drawing)
    assert done, "PNG takes any three-channel picture"
    try:
        plot.write_bytes(data.tobytes())
    except OSError as error:
        raise InvalidParameter(f"{plot} cannot be written: {error.strerror}") from error


def _judge(
    settings: Settings, pack: Pack, clip: Path, face: Path | None,
    asked: LivenessAction | RequestedOrder, threshold: float,
) -> LivenessVerdict:
    info = pack.info
    table = load_table(info.name, settings.data_dir, info.recognition_model)
    if table is None:
        raise Uncalibrated
    options = LivingOptions.from_settings(settings)
    enrolled = None if face is None else _embedding(settings, pack, face)
    with open_sandbox(settings, (DECODE_FUNCTION,)) or nullcontext() as sandbox:
        seen = observe_clip(clip.read_bytes(), pack, options, sandbox)
    policy = DecisionPolicy(
        table.distance, passive_at_least=options.passive_at_least,
        passive_score=passive_calibration(info).score,
    )
    return policy.decide(seen, asked, enrolled, threshold)


def _embedding(settings: Settings, pack: Pack, photo: Path) -> Embedding:
    picture = decode(photo.read_bytes(), PictureLimits.from_settings(settings))
    faces = detect(picture, pack.detector())
    if not faces:
        raise NoFace
    if len(faces) > 1:
        raise ManyFaces
    vector: Embedding = pack.embedder().embed(align_faces(picture, faces, pack.embedder()))[0]
    return vector


def _tell(verdict: LivenessVerdict) -> None:
    reasons = f": {', '.join(verdict.reasons)}" if verdict.reasons else ""
    print_line(f"real: {'yes' if verdict.real else 'no'}{reasons}")
    if verdict.match is not None:
        print_line(f"match: {'yes' if verdict.match else 'no'}")
    print_line(f"passive: {_passive(verdict)}; {len(verdict.timeline)} frames analysed")
    if verdict.order:
        print_line(f"asked: {', '.join(action.name.lower() for action in verdict.order)}")
    for one in sorted(verdict.happenings, key=lambda one: one.peak):
        counted = "" if one.counted else " (not counted)"
        print_line(
            f"{one.action.name.lower()} in frames {one.start} to {one.end}, furthest in "
            f"{one.peak}{counted}"
        )


def _passive(verdict: LivenessVerdict) -> str:
    light = f"light {verdict.light:.0f} of 255"
    if verdict.passive is None or verdict.passive_worst_second is None:
        return f"not scored, {light}"
    worst = 100 * verdict.passive_worst_second
    return f"{100 * verdict.passive:.0f} of 100, {worst:.0f} in its worst second, {light}"
