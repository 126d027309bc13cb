"""Document b, part 1: faces and their pictures."""

from __future__ import annotations

import base64

from api_shim.dialects import b_reading as reading
from api_shim.dialects.b_envelope import item, rectangle, success
from api_shim.requests import Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.errors import FaceNotFound, ImageNotFound, MediaNotFound
from pipeline.gallery.records import FaceRecord
from pipeline.operations import EnrolParams

DESCRIPTION_BYTES = 255
IMAGE_ID_BYTES = 32
NAME_BYTES = 128
GENDER_BYTES = 16

# What 1.2 lists when the caller does not say how much.
USUAL_PAGE = 1000


class Faces:
    """1.1 to 1.6. Every method takes the tenant and the request, and raises
    ``FaceError``."""

    def __init__(self, records: RecordStores) -> None:
        self._records = records

    def enrol(self, tenant: Tenant, call: Call) -> JobRequest:
        fields = reading.body_of(call)
        picture = reading.picture(fields, "image")
        asked = EnrolParams(
            faces="largest",
            gate=True,
            image_id=reading.identifier(fields, "imageMd5", IMAGE_ID_BYTES) or None,
            description=reading.text(fields, "description", DESCRIPTION_BYTES),
            name=reading.text(fields, "name", NAME_BYTES),
            gender=reading.text(fields, "gender", GENDER_BYTES),
            exists="refuse",
        )
        return JobRequest(tenant, "enrol", asked.to_json(), (picture,))

    def all(self, tenant: Tenant, call: Call) -> Reply:
        offset, size = reading.page(call, USUAL_PAGE)
        page = self._records.faces.page(tenant.id, offset, size)
        faces = [{"id": face.id, "imgeld": face.image_id, **item(face)} for face in page.items]
        return success({"totalFaces": page.total, "face": faces})

    def delete(self, tenant: Tenant, call: Call) -> Reply:
        self._records.faces.delete_token(tenant.id, face_token(call))
        return success({})

    def delete_image(self, tenant: Tenant, call: Call) -> Reply:
        self._records.images.delete(tenant.id, _image_id(call))
        return success({})

    def one(self, tenant: Tenant, call: Call) -> Reply:
        face = self._records.faces.by_token(tenant.id, face_token(call))
        groups = self._records.faces.collections(tenant.id, face.id)
        return success(
            {
                "imageId": face.image_id,
                "description": face.description,
                "name": face.name,
                "gender": face.gender,
                "rect": self._rectangle(tenant, face),
                "faceGroupList": [{"groupId": group.key} for group in groups],
                "image": self._base64(face.face_key, FaceNotFound),
            }
        )

    def image(self, tenant: Tenant, call: Call) -> Reply:
        image = self._records.images.get(tenant.id, _image_id(call))
        return success(
            {
                "image": self._base64(image.media_key, ImageNotFound),
                "faceToken": self._records.images.face_tokens(tenant.id, image),
            }
        )

    def clear(self, tenant: Tenant, _: Call) -> Reply:
        self._records.galleries.clear(tenant.id)
        return success({})

    def _rectangle(self, tenant: Tenant, face: FaceRecord) -> dict[str, int]:
        image = self._records.images.find(tenant.id, face.image_id)
        if image is None:
            raise FaceNotFound  # deleted a moment ago
        return rectangle(face.box, image.width, image.height)

    def _base64(self, key: str, gone: type[FaceNotFound | ImageNotFound]) -> str:
        """An object as Base64; raises ``gone`` for one that was deleted a moment ago."""
        try:
            return base64.b64encode(self._records.media.get(key)).decode()
        except MediaNotFound as error:
            raise gone from error


def face_token(call: Call) -> str:
    """The face that the path names. Raises ``FaceNotFound`` for what no face can have."""
    token = call.path_values["face_token"]
    if not token.isprintable():
        raise FaceNotFound
    return token


def _image_id(call: Call) -> str:
    image_id = call.path_values["image_id"]
    if not image_id.isprintable():
        raise ImageNotFound
    return image_id
