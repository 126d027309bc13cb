"""Document b, part 3: one face against another, and against groups."""

from __future__ import annotations

from api_shim.dialects import b_reading as reading
from api_shim.dialects.b_envelope import MOST_SHOWN
from api_shim.intents import Call, Intent
from pipeline.errors import CollectionNotFound
from pipeline.gallery.tenants import Tenant
from pipeline.operations import MOST_HITS, Compare, Search


def compare(tenant: Tenant, call: Call) -> Intent:
    """3.1. Raises ``FaceError``."""
    fields = reading.body_of(call)
    pictures = tuple(reading.picture(fields, name) for name in ("image1", "image2"))
    asked = Compare(liveness=reading.flag(fields, "livenessEnabled", None)).asked()
    return Intent(tenant, "compare", asked, pictures)


def search(tenant: Tenant, call: Call) -> Intent:
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
    wanted = shown if len(groups) == 1 else MOST_HITS
    asked = Search(
        collections=groups, k=wanted, embedding=feature, liveness=liveness
    ).asked()
    return Intent(tenant, "search", {**asked, "top": shown}, (picture,))
