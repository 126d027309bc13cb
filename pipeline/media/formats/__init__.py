"""One module per picture format: reads the header, and strips parts that a decoder does not need.

These modules read structure only; they decode no pixels and allocate no more than the file's
size. Every ``read`` takes hostile bytes: it raises ``struct.error`` for a truncated file,
``ValueError`` for a file that contradicts its format or would cost a decoder more than its
size explains, and ``base.UnsupportedVariant`` for variants that are not accepted. It reads a
bounded number of segments.
"""
