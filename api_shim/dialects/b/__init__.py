"""Document b, "faces and face groups": JSON in, ``{"code", "msg", "data"}`` out."""

from api_shim.dialects.b.dialect import FacesAndGroups

DIALECT = FacesAndGroups
