"""Document c: two pictures with up to four faces each, and a matrix of confidences."""

from api_shim.dialects.c.dialect import Linkface

DIALECT = Linkface
