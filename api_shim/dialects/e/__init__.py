"""Document e, "face2": signed JSON requests, pictures in Base64."""

from api_shim.dialects.e.dialect import Face2

DIALECT = Face2
