"""Document b, part 2: groups of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from api_shim.dialects import b_reading as reading
from api_shim.dialects.b_envelope import GROUP_UNKNOWN, item, success
from api_shim.dialects.b_faces import face_token
from api_shim.requests import Call, Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.errors import CollectionNotFound, InvalidParameter
from pipeline.gallery.collections import CollectionDeletion
from pipeline.gallery.records import DEFAULT_SCORE, BindingReport

TYPE_BYTES = 128
NAME_BYTES = 128

# Paths under these belong to 2.5 and 2.6.
RESERVED = ("binding/", "unbind/")

Rebind = Callable[[int, str, Sequence[str]], BindingReport]


class Groups:
    """2.1 to 2.7. Every method takes the tenant and the request, and raises
    ``FaceError``."""

    def __init__(self, records: RecordStores) -> None:
        self._collections = records.collections

    def all(self, tenant: Tenant, _: Call) -> Reply:
        groups = [
            {
                "groupId": group.key,
                "groupType": group.type,
                "groupScore": round(group.score),
                "groupName": group.name,
                "groupFaces": faces,
            }
            for group, faces in self._collections.all(tenant.id)
        ]
        return success({"faceGroupList": groups})

    def create(self, tenant: Tenant, call: Call) -> Reply:
        fields = reading.body_of(call)
        self._collections.create(
            tenant.id,
            _new_id(reading.identifier(fields, "groupId", reading.GROUP_ID_BYTES, required=True)),
            name=reading.text(fields, "groupName", NAME_BYTES, required=True),
            type=reading.text(fields, "groupType", TYPE_BYTES),
            score=reading.integer(fields, "groupScore", 0, 100, int(DEFAULT_SCORE)),
        )
        return success({})

    def update(self, tenant: Tenant, call: Call) -> Reply:
        fields = reading.body_of(call)
        key = reading.identifier(fields, "groupId", reading.GROUP_ID_BYTES, required=True)
        given = {name for name, value in fields.items() if value is not None}
        name = reading.text(fields, "groupName", NAME_BYTES)
        kind = reading.text(fields, "groupType", TYPE_BYTES)
        score = reading.integer(fields, "groupScore", 0, 100, int(DEFAULT_SCORE))
        self._collections.update(
            tenant.id, key,
            name=name if "groupName" in given else None,
            type=kind if "groupType" in given else None,
            score=score if "groupScore" in given else None,
        )
        return success({})

    def delete(self, tenant: Tenant, call: Call) -> Reply:
        way = reading.integer(
            reading.body_of(call), "deleteAllFace", 1, len(CollectionDeletion), None
        )
        self._collections.delete(tenant.id, _group_id(call), CollectionDeletion(way))
        return success({})

    def faces(self, tenant: Tenant, call: Call) -> Reply:
        offset, size = reading.page(call, None)
        page = self._collections.faces(tenant.id, _group_id(call), offset, size)
        faces = [{"imgId": face.image_id, **item(face)} for face in page.items]
        return success({"totalFaces": page.total, "face": faces})

    def bind(self, tenant: Tenant, call: Call) -> Reply:
        return _rebound(self._collections.bind, tenant, call)

    def unbind(self, tenant: Tenant, call: Call) -> Reply:
        return _rebound(self._collections.unbind, tenant, call)


def _rebound(change: Rebind, tenant: Tenant, call: Call) -> Reply:
    """Bind or unbind, and report on every group that was named."""
    named = reading.group_ids(reading.body_of(call), "faceGroupList")
    possible = [key for key in named if reading.could_name_a_group(key)]
    done = change(tenant.id, face_token(call), possible).done
    failed = [key for key in named if key not in done]
    return success(
        {
            "totalCnt": len(named),
            "successCnt": len(done),
            "failCnt": len(failed),
            "failInfo": [{"groupId": key, "errorMsg": GROUP_UNKNOWN} for key in failed],
        }
    )


def _new_id(key: str) -> str:
    if key.startswith(RESERVED):
        raise InvalidParameter(f"groupId must not begin with {' or '.join(RESERVED)}")
    return key


def _group_id(call: Call) -> str:
    """The group that the path names. Raises ``CollectionNotFound``."""
    key = call.path_values["group_id"]
    if not reading.could_name_a_group(key):
        raise CollectionNotFound
    return key
