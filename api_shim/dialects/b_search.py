"""Document b, part 3: one face against another, and against groups."""

from __future__ import annotations

from api_shim.dialects import b_reading as reading
from api_shim.dialects.b_envelope import MOST_SHOWN
from api_shim.requests import Call, JobRequest
from pipeline.accounts.model import Tenant
from pipeline.errors import CollectionNotFound
from pipeline.operations import MAX_HITS, CompareParams, SearchParams


def compare(tenant: Tenant, call: Call) -> JobRequest:
    """3.1. Raises ``FaceError``."""
    fields = reading.body_of(call)
    pictures = tuple(reading.picture(fields, name) for name in ("image1", "image2"))
    asked = CompareParams(liveness=reading.flag(fields, "livenessEnabled", None)).to_json()
    return JobRequest(tenant, "compare", asked, pictures)


def search(tenant: Tenant, call: Call) -> JobRequest:
    """3.2. Raises ``FaceError``."""
    fields = reading.body_of(call)
    picture = reading.picture(fields, "image")
    groups = reading.group_ids(fields, "group")
    shown = reading.integer(fields, "topN", 1, MOST_SHOWN, MOST_SHOWN)
    liveness = reading.flag(fields, "livenessEnabled", False)
    feature = reading.flag(fields, "featureUpload", False)
    if not all(reading.could_name_a_group(key) for key in groups):
        raise CollectionNotFound
    # In several groups a better hit may fail its group's score and a worse one pass.
    wanted = shown if len(groups) == 1 else MAX_HITS
    asked = SearchParams(
        collections=groups, k=wanted, embedding=feature, liveness=liveness
    ).to_json()
    return JobRequest(tenant, "search", {**asked, "top": shown}, (picture,))
