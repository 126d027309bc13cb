"""The operations of documents a, c, d and e, by method and path."""

from __future__ import annotations

from api_shim.reference.model import Field, Operation, optional

FID = Field("Fid", "integer", "The face.")
FIMG = Field("Fimg", "base64", "A picture.")
FNAME = optional("Fname", about="The face's name; the time when it is empty.")
FACE = (Field("Fid", "integer"), Field("Fname"))

_MATCH = Operation(
    "Compare a picture with an enrolled face.",
    (FID, FIMG, optional("Threshold", "number", "0 to 1; a match is a smaller distance.")),
    (Field("match", "boolean"),),
)

A = {
    "GET /api/face": Operation(
        "Every face of the application.", (), (Field("faces", "objects", "Fid, Fname, Apid"),)
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
            optional("image_one", "object", "image_one_id, unless it was sent by id"),
            optional("image_two", "object", "image_two_id, unless it was sent by id"),
        ),
    ),
}

IMG = Field("img", "base64", "JPEG, PNG or BMP of at most 2 MB.")
FACEDB = optional("facedb", about="A group of document b, by its id.")

D = {
    "POST /v1/addface": Operation(
        "Add every face in a picture.",
        (IMG, optional("name", about="1 to 128 letters and digits."), FACEDB),
        (Field("message", "objects", "name, person_id"),),
    ),
    "POST /v1/searchface": Operation(
        "Who is like the largest face in a picture.", (IMG, FACEDB),
        (Field("message", "objects", "confidence (81 to 100), name, person_id; best first"),),
    ),
    "POST /v1/delface": Operation(
        "Delete a face.", (Field("person_id"), FACEDB), (Field("message"),)
    ),
}

IMAGE = Field("image", "base64", "At most 2 MB of Base64.")

E = {
    "POST /face2/locate": Operation(
        "The faces in a picture.",
        (IMAGE, optional("max_face_num", "integer", "The largest so many; 1.")),
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
