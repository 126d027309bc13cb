"""The operations of documents a, c, d and e, by method and path."""

from __future__ import annotations

from api_shim.reference.model import Field, Operation, between, optional, short

FID = Field("Fid", "integer", "The face.")
FIMG = Field("Fimg", "base64", "A picture.")
FNAME = optional(
    "Fname", about="The face's name; the time when it is empty.", limits=short(255)
)
FACE = (Field("Fid", "integer"), Field("Fname"))

THRESHOLD = optional(
    "Threshold", "number", "A match is a smaller distance; 0.6.", limits=between(0, 1)
)

_MATCH = Operation(
    "Compare a picture with an enrolled face.",
    (FID, FIMG, THRESHOLD),
    (Field("match", "boolean"),),
)

A = {
    "GET /api/face": Operation(
        "Every face of the application.", (),
        (Field("faces", "objects", inside=(*FACE, Field("Apid", "integer"))),),
    ),
    "POST /api/face": Operation("Enrol the one face of a picture.", (FIMG, FNAME), FACE),
    "PUT /api/face": Operation(
        "Give a face another picture, another name, or both.",
        (FID, optional("Fimg", "base64"), optional("Fname")), FACE,
    ),
    "DELETE /api/face": Operation("Delete a face.", (FID,), FACE),
    "GET /api/singleface": Operation("One face.", (FID,), FACE),
    "POST /api/similarity": Operation(
        "How like the first picture each of the others is.",
        (
            Field("Fimg1", "base64"), Field("Fimg2", "base64"),
            optional("Fimg3", "base64", "And so on without a gap, up to Fimg50."),
        ),
        (Field("similarity", "numbers", "0 to 1, one less than there are pictures."),),
    ),
    "POST /api/detection": Operation(
        "Every face in a picture.", (FIMG,),
        (Field("location", "boxes", "[top, right, bottom, left], largest first."),),
    ),
    "POST /api/living": Operation(
        "Whether a clip shows the action, by the living person who is enrolled.",
        (
            FID,
            Field("Fvideo", "base64", "MP4, WebM, AVI or MOV; at most 20 MB and 30 s."),
            optional("Action", "integer", "1 (default): blink; 2: open the mouth.",
                     limits=between(1, 2)),
            THRESHOLD,
        ),
        (Field("match", "boolean"), Field("real", "boolean")),
    ),
    "GET /api/match": _MATCH,
    "POST /api/match": _MATCH,
}



def _source(image: str) -> tuple[Field, ...]:
    """The three ways to send a picture, of which one is taken, and its turn."""
    return (
        optional(f"{image}_file", "file", "JPG, BMP, PNG, GIF or TIFF of at most 5 MB."),
        optional(f"{image}_url", about="Where it is fetched, when that is switched on."),
        optional(f"{image}_id", about="A stored picture."),
        optional(f"{image}_auto_rotate", "boolean", "Find its upright turn from the faces."),
    )


C = {
    "POST /identity/compare_faces_in_two_images": Operation(
        "Compare up to four faces of a picture with up to four of another.",
        (*_source("image_one"), *_source("image_two")),
        (
            Field("confidences", "matrix", "A row for each face of image one, 0 to 1."),
            Field("max_confidence", "number"),
            *(
                optional(
                    image, "object", "Unless it was sent by id.", inside=(Field(f"{image}_id"),)
                )
                for image in ("image_one", "image_two")
            ),
        ),
    ),
}

IMG = Field("img", "base64", "JPEG, PNG or BMP of at most 2 MB.")
PERSON = (Field("name"), Field("person_id"))
FACEDB = optional("facedb", about="A group of document b, by its id.", limits=short(32))
NAME = optional("name", about="Letters and digits.", limits={"pattern": "^[0-9A-Za-z]{1,128}$"})

D = {
    "POST /v1/addface": Operation(
        "Add every face in a picture.",
        (IMG, NAME, FACEDB),
        (Field("message", "objects", inside=PERSON),),
    ),
    "POST /v1/searchface": Operation(
        "Who is like the largest face in a picture.", (IMG, FACEDB),
        (
            Field(
                "message", "objects", "Best first.",
                inside=(Field("confidence", "integer", "81 to 100."), *PERSON),
            ),
        ),
    ),
    "POST /v1/delface": Operation(
        "Delete a face.", (Field("person_id"), FACEDB), (Field("message"),)
    ),
}

IMAGE = Field("image", "base64", "At most 2 MB of Base64.")
MOST = optional("max_face_num", "integer", "The largest so many; 1.", limits={"minimum": 1})

E = {
    "POST /face2/locate": Operation(
        "The faces in a picture.",
        (IMAGE, MOST),
        (
            Field("face_num", "integer"),
            Field("locations", "boxes", "[top, right, bottom, left], largest first."),
        ),
    ),
    "POST /face2/verify": Operation(
        "Whether two pictures show the same person.",
        (Field("image1", "base64"), Field("image2", "base64")),
        (Field("is_match", "boolean"), Field("score", "number", "A distance, 0 to 1.")),
    ),
    "POST /face2/features": Operation(
        "The largest face as a vector.", (IMAGE,),
        (Field("features", "numbers", "512 numbers of unit length."),),
    ),
}
