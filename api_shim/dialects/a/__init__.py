"""Document a: an application's number and key in every request, a ``msg_code`` in every
answer."""

from api_shim.dialects.a.dialect import ApidFace

DIALECT = ApidFace
