"""The operations of document b, by method and path."""

from __future__ import annotations

from api_shim.reference.model import Field, Operation, between, optional, short

IMAGE = Field("image", "base64", "JPG, PNG or BMP of at most 4 MB.")
TOKEN = Field("faceToken")
GROUP_ID = Field("groupId", about="At most 32 bytes.", limits=short(32, 1))
GROUP_NAME = Field("groupName", about="At most 128 bytes.", limits=short(128, 1))
GROUPS = Field("faceGroupList", "strings", "Ids of groups.", limits={"minItems": 1})
SCORE = optional("groupScore", "integer", "80 when a group is made.", limits=between(0, 100))
RECT = tuple(Field(side, "integer") for side in ("left", "top", "right", "bottom"))
_ITEM = tuple(Field(name) for name in ("imageId", "faceToken", "description", "name", "gender"))
FACES = (
    Field("totalFaces", "integer"),
    Field("face", "objects", inside=(Field("id", "integer"), Field("imgeld"), *_ITEM)),
)
MEMBERS = (
    Field("totalFaces", "integer"), Field("face", "objects", inside=(Field("imgId"), *_ITEM))
)
NAMED = (Field("groupId"),)
REPORT = (
    Field("totalCnt", "integer"), Field("successCnt", "integer"), Field("failCnt", "integer"),
    Field("failInfo", "objects", inside=(Field("groupId"), Field("errorMsg"))),
)
FOUND = (
    *RECT, *(Field(angle, "integer") for angle in ("roll", "yaw", "pitch")),
    Field("blurness", "number", "0 to 100; larger is sharper."),
    optional("livenessScore", "number", "0 to 100, with livenessEnabled."),
)
HIT = (
    optional("group", "objects", inside=NAMED), optional("searchScore", "number", "0 to 100."),
    optional("faceToken"), optional("description"),
    optional("imageUrl", "base64", "The cut-out face, a JPEG."),
)
WITH_LIVENESS = "With the livenessScore of each face."

B = {
    "POST /api/faces": Operation(
        "1.1 Enrol the largest face of a picture.",
        (
            IMAGE, optional("description", about="At most 255 bytes.", limits=short(255)),
            optional(
                "imageMd5", about="The caller's own imageId, at most 32 bytes.", limits=short(32)
            ),
            optional("name", about="At most 128 bytes.", limits=short(128)),
            optional("gender", about="At most 16 bytes.", limits=short(16)),
        ),
        (Field("id", "integer"), Field("imageId"), TOKEN, Field("rect", "object", inside=RECT)),
    ),
    "GET /api/faces": Operation(
        "1.2 A page of the faces, newest last.",
        (
            optional("pageOffset", "integer", "Items to skip.", limits=between(0, 10**15)),
            optional("pageSize", "integer", limits=between(1, 1000)),
        ),
        FACES,
    ),
    "DELETE /api/faces/{face_token}": Operation("1.3 Delete a face and keep its picture."),
    "DELETE /api/faces/image/{image_id}": Operation("1.4 Delete a picture with its face."),
    "GET /api/faces/faceToken/{face_token}": Operation(
        "1.5 One face.", (),
        (
            Field("imageId"), Field("description"), Field("name"), Field("gender"),
            Field("rect", "object", inside=RECT), Field("faceGroupList", "objects", inside=NAMED),
            Field("image", "base64", "The cut-out face, a JPEG."),
        ),
    ),
    "GET /api/faces/image/{image_id}": Operation(
        "1.6 A picture as it was enrolled.", (),
        (Field("image", "base64"), Field("faceToken", "strings")),
    ),
    "DELETE /api/faces/facesLib": Operation("1.6 Delete every face and every picture."),
    "GET /api/faceGroups": Operation(
        "2.1 Every group.", (),
        (
            Field("faceGroupList", "objects", inside=(
                Field("groupId"), Field("groupType"), Field("groupScore", "integer"),
                Field("groupName"), Field("groupFaces", "integer"),
            )),
        ),
    ),
    "POST /api/faceGroups": Operation(
        "2.2 Make a group.",
        (
            GROUP_ID, GROUP_NAME,
            optional("groupType", about="At most 128 bytes.", limits=short(128)), SCORE,
        ),
    ),
    "DELETE /api/faceGroups/{group_id}": Operation(
        "2.3 Delete or empty a group.",
        (
            Field(
                "deleteAllFace", "integer", "What becomes of its faces.", limits=between(1, 4)
            ),
        ),
    ),
    "GET /api/faceGroups/{group_id}": Operation(
        "2.4 A page of a group's faces.",
        (
            Field("pageOffset", "integer", limits=between(0, 10**15)),
            Field("pageSize", "integer", limits=between(1, 1000)),
        ),
        MEMBERS,
    ),
    "POST /api/faceGroups/binding/{face_token}": Operation(
        "2.5 Put a face into groups.", (GROUPS,), REPORT
    ),
    "DELETE /api/faceGroups/unbind/{face_token}": Operation(
        "2.6 Take a face out of groups.", (GROUPS,), REPORT
    ),
    "PUT /api/faceGroups": Operation(
        "2.7 Change a group.",
        (
            GROUP_ID, optional("groupName", limits=short(128)),
            optional("groupType", limits=short(128)), SCORE,
        ),
    ),
    "POST /api/face/compare": Operation(
        "3.1 Compare the largest faces of two pictures.",
        (
            Field("image1", "base64"), Field("image2", "base64"),
            Field("livenessEnabled", "boolean", WITH_LIVENESS),
        ),
        (
            Field("compareScore", "number", "0 to 100."),
            Field("detectionResult1", "object", inside=(*FOUND, Field("blurriness", "number"))),
            Field("detectionResult2", "object", inside=FOUND),
        ),
    ),
    "POST /api/face/search": Operation(
        "3.2 Who is like the largest face in a picture.",
        (
            IMAGE, Field("group", "strings", "Ids of groups.", limits={"minItems": 1}),
            optional("topN", "integer", limits=between(1, 5)),
            optional("livenessEnabled", "boolean", WITH_LIVENESS),
            optional("featureUpload", "boolean", "With the vector."),
        ),
        (
            Field("detectionResult", "object", inside=(
                *FOUND, Field("quality", "number", "0 to 1."), optional("feature", "base64"),
            )),
            *(
                Field(f"top{place}", "object", "{} without a hit", inside=HIT)
                for place in range(1, 6)
            ),
        ),
    ),
}
