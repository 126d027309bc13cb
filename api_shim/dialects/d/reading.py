"""Document d's requests.

Check order: the key (401), its application's permissions and limits (403, 429), the parameters in
the order of the document, the picture's encoding, size and format. The job finds the errors
that only the pixels show.
"""

from __future__ import annotations

from functools import partial

from api_shim.dialects.base import DialectRequest
from api_shim.dialects.d import envelope
from api_shim.dialects.d.envelope import SearchStatus
from api_shim.dialects.d.fields import FACEDB, IMG, MAX_HITS, NAME, PERSON_ID, check_person_id
from api_shim.dialects.fields import Values
from api_shim.dialects.media_fields import decode_media
from api_shim.record_actions import RecordRequest, delete_person
from api_shim.requests import JobRequest
from pipeline.accounts.model import Tenant
from pipeline.gallery.records import DEFAULT_COLLECTION
from pipeline.operations import EnrolParams, SearchParams


def build_request(operation: str, tenant: Tenant, values: Values) -> DialectRequest:
    """The job or the action that a request asks for. Raises ``BadEncoding``,
    ``PersonNotFound``."""
    facedb = values[FACEDB]
    if operation == "addface":
        return JobRequest(tenant, "enrol", EnrolParams(
            faces="all", name=values[NAME] or None, unnamed="number",
            collections=(facedb or DEFAULT_COLLECTION,),
        ).to_json(), (decode_media(values[IMG]),))
    if operation == "searchface":
        return JobRequest(tenant, "search", SearchParams(
            collections=(facedb,) if facedb else None, k=MAX_HITS
        ).to_json(), (decode_media(values[IMG]),))
    check_person_id(values[PERSON_ID])
    return RecordRequest(
        tenant, partial(delete_person, person_id=values[PERSON_ID].lower(), collection=facedb),
        lambda _: envelope.answer(SearchStatus.OK),
    )
