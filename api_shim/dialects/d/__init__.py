"""Document d, face search: forms, an API key in a header, a ``status`` in every answer."""

from api_shim.dialects.d.dialect import FaceSearch

DIALECT = FaceSearch
