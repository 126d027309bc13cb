"""One file a picture format: what its header says, and what a decoder need not see.

Only structure is read here; no pixel is decoded and nothing is allocated that the file
did not bring. Every ``read`` takes hostile bytes: it raises ``struct.error`` when the
file ends too early, ``ValueError`` when it contradicts its format or would cost a
decoder more than its size explains, and ``UnsupportedVariant`` for a kind that is not taken;
it looks at a bounded number of segments, however long the file is.
"""
