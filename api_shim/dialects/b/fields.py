"""Document b's operations by its sections, and the fields of each. Limits of texts are
bytes in UTF-8, as the document has them."""

from __future__ import annotations

from api_shim.dialects.answers import AnswerField, optional
from api_shim.dialects.base import DELETE, GET, POST, PUT, Endpoint
from api_shim.dialects.fields import (
    BooleanField,
    IntegerField,
    TextField,
    TextListField,
    collection_key_field,
)
from api_shim.dialects.media_fields import PictureField
from pipeline.errors import CollectionNotFound
from pipeline.gallery.collections import CollectionDeletion
from pipeline.media.pictures import PictureLimits
from pipeline.operations import MAX_HITS

COMPARE_PATH = "/api/face/compare"

# 1.1: bytes of the file and sides in pixels.
LIMITS = PictureLimits(
    max_bytes=4 * 1024 * 1024,
    min_side=100,
    max_side=4096,
    max_short_side=2160,
    max_pixels=4096 * 2160,
    formats=frozenset({"jpeg", "png", "bmp"}),
)

MAX_SHOWN_HITS = 5  # top1 to top5

# Items of a page, and groups that a request can name: more than there can be.
MAX_PAGE_ITEMS = 1000
MAX_NAMED_GROUPS = 256

# Faces that 1.2 lists without a pageSize.
DEFAULT_PAGE_ITEMS = 1000

MAX_OFFSET = 10**15

# 2.2: the score that a hit in a new group must exceed.
DEFAULT_GROUP_SCORE = 80

# 2.3, by its second table.
DELETIONS = {
    1: CollectionDeletion.COLLECTION_ONLY,
    2: CollectionDeletion.WITH_ALL_FACES,
    3: CollectionDeletion.CONTENT_ONLY,
    4: CollectionDeletion.WITH_EXCLUSIVE_FACES,
}

_ABOUT_PICTURE = "JPG, PNG or BMP of at most 4 MB, 100x100 to 4096x2160 pixels."

IMAGE = PictureField("image", _ABOUT_PICTURE)
IMAGE_ID = TextField(
    "imageMd5", "The caller's own imageId, at most 32 bytes.", required=False, max_bytes=32,
    printable=True, names_path=True,
)
DESCRIPTION = TextField("description", "At most 255 bytes.", required=False, max_bytes=255)
NAME = TextField("name", "At most 128 bytes.", required=False, max_bytes=128)
GENDER = TextField("gender", "At most 16 bytes.", required=False, max_bytes=16)

PAGE_OFFSET = IntegerField(
    "pageOffset", "Items to skip.", required=False, default=0, least=0, most=MAX_OFFSET
)
PAGE_SIZE = IntegerField(
    "pageSize", required=False, default=DEFAULT_PAGE_ITEMS, least=1, most=MAX_PAGE_ITEMS
)
GROUP_PAGE_OFFSET = IntegerField("pageOffset", "Items to skip.", least=0, most=MAX_OFFSET)
GROUP_PAGE_SIZE = IntegerField("pageSize", least=1, most=MAX_PAGE_ITEMS)

NEW_GROUP_ID = collection_key_field("groupId", "At most 32 bytes.", names_path=True)
GROUP_ID = collection_key_field("groupId", "At most 32 bytes.")
GROUP_NAME = TextField("groupName", "At most 128 bytes.", max_bytes=128)
GROUP_TYPE = TextField("groupType", "At most 128 bytes.", required=False, max_bytes=128)
GROUP_SCORE = IntegerField(
    "groupScore", "What a hit must exceed.", required=False, default=DEFAULT_GROUP_SCORE,
    least=0, most=100,
)
NEXT_GROUP_NAME = TextField("groupName", "At most 128 bytes.", required=False, max_bytes=128)
NEXT_GROUP_SCORE = IntegerField(
    "groupScore", "What a hit must exceed.", required=False, least=0, most=100
)
DELETE_ALL_FACE = IntegerField(
    "deleteAllFace",
    "1: delete the group; 2: with all its faces; 3: empty it and delete the faces that are "
    "in no other group; 4: delete it with those faces and their pictures.",
    least=1, most=len(DELETIONS),
)
FACE_GROUP_LIST = TextListField("faceGroupList", "Ids of groups.", most=MAX_NAMED_GROUPS)

IMAGE_1 = PictureField("image1", _ABOUT_PICTURE)
IMAGE_2 = PictureField("image2", _ABOUT_PICTURE)
_WITH_LIVENESS = "With the livenessScore of each face."
COMPARE_LIVENESS = BooleanField("livenessEnabled", _WITH_LIVENESS)
GROUPS = TextListField(
    "group", "Ids of groups.", most=MAX_NAMED_GROUPS,
    item=collection_key_field("groupId", "", missing=CollectionNotFound, wrong=CollectionNotFound),
)
TOP_N = IntegerField("topN", required=False, default=MAX_SHOWN_HITS, least=1, most=MAX_SHOWN_HITS)
SEARCH_LIVENESS = BooleanField("livenessEnabled", _WITH_LIVENESS, required=False, default=False)
FEATURE_UPLOAD = BooleanField("featureUpload", "With the vector.", required=False, default=False)

# Answers ----------------------------------------------------------------------------

_RECT = tuple(AnswerField(side, "integer") for side in ("left", "top", "right", "bottom"))
_ITEM = tuple(
    AnswerField(name) for name in ("imageId", "faceToken", "description", "name", "gender")
)
_GROUP_REF = (AnswerField("groupId"),)
_REPORT = (
    AnswerField("totalCnt", "integer"), AnswerField("successCnt", "integer"),
    AnswerField("failCnt", "integer"),
    AnswerField(
        "failInfo", "objects", inside=(AnswerField("groupId"), AnswerField("errorMsg")),
        title="BBindingFailure",
    ),
)
_DETECTED = (
    *_RECT, *(AnswerField(angle, "integer") for angle in ("roll", "yaw", "pitch")),
    AnswerField("blurness", "number", "0 to 100; larger is sharper."),
    optional("livenessScore", "number", "0 to 100, with livenessEnabled."),
)
_HIT = (
    optional("group", "objects", inside=_GROUP_REF, title="BGroupRef"),
    optional("searchScore", "number", "0 to 100."),
    optional("faceToken"), optional("description"),
    optional("imageUrl", "base64", "The cut-out face, a JPEG."),
)

ENDPOINTS = (
    Endpoint(
        "/api/faces", POST, "1.1", "enrol", "1.1 Enrol the largest face of a picture.",
        takes=(IMAGE, IMAGE_ID, DESCRIPTION, NAME, GENDER),
        gives=(
            AnswerField("id", "integer"), AnswerField("imageId"), AnswerField("faceToken"),
            AnswerField("rect", "object", inside=_RECT, title="BRectangle"),
        ),
    ),
    Endpoint(
        "/api/faces", GET, "1.2", "list", "1.2 A page of the faces, newest last.",
        takes=(PAGE_OFFSET, PAGE_SIZE),
        gives=(
            AnswerField("totalFaces", "integer"),
            AnswerField(
                "face", "objects",
                inside=(AnswerField("id", "integer"), AnswerField("imgeld"), *_ITEM),
                title="BListedFace",
            ),
        ),
    ),
    # Before 1.3, whose path fits as well.
    Endpoint(
        "/api/faces/facesLib", DELETE, "1.6 facesLib", "clear",
        "1.6 Delete every face and every picture.",
    ),
    Endpoint(
        "/api/faces/{face_token}", DELETE, "1.3", "delete",
        "1.3 Delete a face and keep its picture.",
    ),
    Endpoint(
        "/api/faces/image/{image_id:path}", DELETE, "1.4", "delete_image",
        "1.4 Delete a picture with its face.",
    ),
    Endpoint(
        "/api/faces/faceToken/{face_token}", GET, "1.5", "show", "1.5 One face.",
        gives=(
            AnswerField("imageId"), AnswerField("description"), AnswerField("name"),
            AnswerField("gender"),
            AnswerField("rect", "object", inside=_RECT, title="BRectangle"),
            AnswerField("faceGroupList", "objects", inside=_GROUP_REF, title="BGroupRef"),
            AnswerField("image", "base64", "The cut-out face, a JPEG."),
        ),
    ),
    Endpoint(
        "/api/faces/image/{image_id:path}", GET, "1.6 image", "image",
        "1.6 A picture as it was enrolled.",
        gives=(AnswerField("image", "base64"), AnswerField("faceToken", "strings")),
    ),
    Endpoint(
        "/api/faceGroups", GET, "2.1", "groups", "2.1 Every group.",
        gives=(
            AnswerField("faceGroupList", "objects", title="BGroup", inside=(
                AnswerField("groupId"), AnswerField("groupType"),
                AnswerField("groupScore", "integer"), AnswerField("groupName"),
                AnswerField("groupFaces", "integer"),
            )),
        ),
    ),
    Endpoint(
        "/api/faceGroups", POST, "2.2", "create_group", "2.2 Make a group.",
        takes=(NEW_GROUP_ID, GROUP_NAME, GROUP_TYPE, GROUP_SCORE),
    ),
    Endpoint(
        "/api/faceGroups", PUT, "2.7", "change_group", "2.7 Change a group.",
        takes=(GROUP_ID, NEXT_GROUP_NAME, GROUP_TYPE, NEXT_GROUP_SCORE),
    ),
    # Before 2.3 and 2.4, whose paths fit as well.
    Endpoint(
        "/api/faceGroups/binding/{face_token}", POST, "2.5", "bind",
        "2.5 Put a face into groups.", takes=(FACE_GROUP_LIST,), gives=_REPORT,
    ),
    Endpoint(
        "/api/faceGroups/unbind/{face_token}", DELETE, "2.6", "unbind",
        "2.6 Take a face out of groups.", takes=(FACE_GROUP_LIST,), gives=_REPORT,
    ),
    Endpoint(
        "/api/faceGroups/{group_id:path}", DELETE, "2.3", "delete_group",
        "2.3 Delete or empty a group.", takes=(DELETE_ALL_FACE,),
    ),
    Endpoint(
        "/api/faceGroups/{group_id:path}", GET, "2.4", "group",
        "2.4 A page of a group's faces.", takes=(GROUP_PAGE_OFFSET, GROUP_PAGE_SIZE),
        gives=(
            AnswerField("totalFaces", "integer"),
            AnswerField(
                "face", "objects", inside=(AnswerField("imgId"), *_ITEM),
                title="BGroupMember",
            ),
        ),
    ),
    Endpoint(
        COMPARE_PATH, POST, "3.1", "compare",
        "3.1 Compare the largest faces of two pictures.",
        takes=(IMAGE_1, IMAGE_2, COMPARE_LIVENESS),
        gives=(
            AnswerField("compareScore", "number", "0 to 100."),
            AnswerField(
                "detectionResult1", "object", title="BFirstDetectedFace",
                inside=(*_DETECTED, AnswerField("blurriness", "number")),
            ),
            AnswerField(
                "detectionResult2", "object", inside=_DETECTED, title="BSecondDetectedFace"
            ),
        ),
    ),
    Endpoint(
        "/api/face/search", POST, "3.2", "search",
        "3.2 Find the faces like the largest in a picture.",
        takes=(IMAGE, GROUPS, TOP_N, SEARCH_LIVENESS, FEATURE_UPLOAD),
        gives=(
            AnswerField("detectionResult", "object", title="BProbe", inside=(
                *_DETECTED, AnswerField("quality", "number", "0 to 1."),
                optional("feature", "base64", "512 little-endian float32."),
            )),
            *(
                AnswerField(
                    f"top{place}", "object", "Empty without a hit.", inside=_HIT, title="BHit"
                )
                for place in range(1, MAX_SHOWN_HITS + 1)
            ),
            optional(
                "more", "boolean",
                f"true: {MAX_HITS} faces were looked at, too few of them passed their groups' "
                "scores, and others may.",
            ),
        ),
    ),
)
