"""One module per picture format: reads the header, and strips parts that a decoder does not need.

These modules read structure only; they decode no pixels and allocate no more than the file's
size. Every ``read`` takes hostile bytes: it raises ``base.BrokenPicture`` and its subclasses, and
nothing else: for a file that is cut off, contradicts its format, would cost a decoder more than
its size explains, or is a variant that is not accepted. It reads a bounded number of segments.
"""
