"""The operations of document b, by method and path."""

from __future__ import annotations

from api_shim.reference.model import Field, Operation, optional

IMAGE = Field("image", "base64", "JPG, PNG or BMP of at most 4 MB.")
TOKEN = Field("faceToken")
GROUP_ID = Field("groupId", about="At most 32 bytes.")
GROUPS = Field("faceGroupList", "strings", "Ids of groups.")
PAGE = (Field("totalFaces", "integer"), Field("face", "objects"))
REPORT = (
    Field("totalCnt", "integer"), Field("successCnt", "integer"), Field("failCnt", "integer"),
    Field("failInfo", "objects", "groupId, errorMsg"),
)
LIVENESS = optional("livenessEnabled", "boolean", "Must be false: not checked yet.")

B = {
    "POST /api/faces": Operation(
        "1.1 Enrol the largest face of a picture.",
        (
            IMAGE, optional("description", about="At most 255 bytes."),
            optional("imageMd5", about="The caller's own imageId, at most 32 bytes."),
            optional("name", about="At most 128 bytes."),
            optional("gender", about="At most 16 bytes."),
        ),
        (Field("id", "integer"), Field("imageId"), TOKEN, Field("rect", "object")),
    ),
    "GET /api/faces": Operation(
        "1.2 A page of the faces, newest last.",
        (
            optional("pageOffset", "integer", "Items to skip."),
            optional("pageSize", "integer", "1 to 1000."),
        ),
        PAGE,
    ),
    "DELETE /api/faces/{face_token}": Operation("1.3 Delete a face and keep its picture."),
    "DELETE /api/faces/image/{image_id}": Operation("1.4 Delete a picture with its face."),
    "GET /api/faces/faceToken/{face_token}": Operation(
        "1.5 One face.", (),
        (
            Field("imageId"), Field("description"), Field("name"), Field("gender"),
            Field("rect", "object"), Field("faceGroupList", "objects"),
            Field("image", "base64", "The cut-out face, a JPEG."),
        ),
    ),
    "GET /api/faces/image/{image_id}": Operation(
        "1.6 A picture as it was enrolled.", (),
        (Field("image", "base64"), Field("faceToken", "strings")),
    ),
    "DELETE /api/faces/facesLib": Operation("1.6 Delete every face and every picture."),
    "GET /api/faceGroups": Operation(
        "2.1 Every group.", (), (Field("faceGroupList", "objects"),)
    ),
    "POST /api/faceGroups": Operation(
        "2.2 Make a group.",
        (
            GROUP_ID, Field("groupName", about="At most 128 bytes."), optional("groupType"),
            optional("groupScore", "number", "0 to 100; 80."),
        ),
    ),
    "DELETE /api/faceGroups/{group_id}": Operation(
        "2.3 Delete or empty a group.",
        (Field("deleteAllFace", "integer", "1 to 4: what becomes of its faces."),),
    ),
    "GET /api/faceGroups/{group_id}": Operation(
        "2.4 A page of a group's faces.",
        (Field("pageOffset", "integer"), Field("pageSize", "integer")), PAGE,
    ),
    "POST /api/faceGroups/binding/{face_token}": Operation(
        "2.5 Put a face into groups.", (GROUPS,), REPORT
    ),
    "DELETE /api/faceGroups/unbind/{face_token}": Operation(
        "2.6 Take a face out of groups.", (GROUPS,), REPORT
    ),
    "PUT /api/faceGroups": Operation(
        "2.7 Change a group.",
        (GROUP_ID, optional("groupName"), optional("groupType"), optional("groupScore", "number")),
    ),
    "POST /api/face/compare": Operation(
        "3.1 Compare the largest faces of two pictures.",
        (Field("image1", "base64"), Field("image2", "base64"), LIVENESS),
        (
            Field("compareScore", "number", "0 to 100."), Field("detectionResult1", "object"),
            Field("detectionResult2", "object"),
        ),
    ),
    "POST /api/face/search": Operation(
        "3.2 Who is like the largest face in a picture.",
        (
            IMAGE, Field("group", "strings", "Ids of groups."),
            optional("topN", "integer", "1 to 5."), LIVENESS,
            optional("featureUpload", "boolean", "With the vector."),
        ),
        (
            Field("detectionResult", "object"),
            *(Field(f"top{place}", "object", "{} without a hit") for place in range(1, 6)),
        ),
    ),
}
