"""The domain: models, stages, galleries, jobs. Knows no Celery and no web."""

import os

# OpenCV reads these when it is loaded and never again, so they are set before any
# module of the service can import it. The pixel cap is the last fence behind the header check
# of pipeline.media.pictures; the log level keeps damaged uploads from filling the logs.
_asked = os.environ.get("FACELINE_MAX_PIXELS", "").replace("_", "")
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", _asked if _asked.isdecimal() else "40000000")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
