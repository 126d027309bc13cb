"""Every metric of the service. ``docs/metrics.md`` lists them; a test compares it.

Names of applications are no label unless ``FACELINE_METRICS_TENANTS`` asks for them: the label
``tenant`` is then empty, which Prometheus takes for absent.
"""

from __future__ import annotations

from pipeline.metrics.instruments import MetricCounter, MetricGauge, MetricHistogram

# Upper limits in seconds. A refused call takes a millisecond, a held one up to two minutes.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
# Of a small picture a stage takes milliseconds, of a clip ten seconds.
STAGE_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
# A job may wait for hours in a queue.
JOB_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
# A call that takes seconds is about to fail.
STORE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

# Of ``Stage``, whose module takes half a second to import: a test compares them.
STAGES = ("fetch", "decode", "detect", "embed", "index", "liveness", "bulk")
# Why jobs pause for the most part.
PAUSE_CODES = (
    "media_unavailable", "broker_unavailable", "database_unavailable", "index_behind", "overloaded",
)
_STORES = ("database", "media", "broker", "redis")

# The shim ------------------------------------------------------------------------------

REQUESTS = MetricCounter(
    "faceline_requests",
    "Requests by dialect (`service` for the service's own paths), operation, outcome (`ok`, "
    "`refused` for a fault of the request, `failed` for one of the service), neutral code (`ok`, "
    "`accepted` for 202, else the error's) and HTTP status.",
    ("dialect", "operation", "outcome", "code", "status", "tenant"),
)
REQUEST_SECONDS = MetricHistogram(
    "faceline_request_seconds", "Seconds from a request's head to the end of its answer.",
    ("dialect", "operation"), buckets=REQUEST_BUCKETS,
)
REQUESTS_OPEN = MetricGauge("faceline_requests_open", "Requests that are being read or held.")
PART_USABLE = MetricGauge(
    "faceline_part_usable",
    "Whether a part of the service (`database`, `media`, `master_key`) could be used when it was "
    "last tried: 1 or 0.", ("part",),
)
REFUSALS = MetricCounter(
    "faceline_refusals",
    "Requests refused for a rate (`rate_limited`), a quota (`quota_exceeded`) or a missing "
    "permission (`not_permitted`).",
    ("reason", "tenant"),
    {"reason": ("rate_limited", "quota_exceeded", "not_permitted"), "tenant": ("",)},
)

# Jobs, in workers and upkeep -------------------------------------------------------------

STAGE_SECONDS = MetricHistogram(
    "faceline_stage_seconds", "Seconds that a stage took for one job; its share of a batch.",
    ("stage",), buckets=STAGE_BUCKETS,
)
JOBS_ENDED = MetricCounter(
    "faceline_jobs_ended", "Jobs that ended in a worker, by operation, outcome and code; as of "
    "requests.", ("operation", "outcome", "code"),
)
JOB_SECONDS = MetricHistogram(
    "faceline_job_seconds", "Seconds from the acceptance of a job to its end in a worker.",
    ("operation",), buckets=JOB_BUCKETS,
)
CLAIMS = MetricCounter(
    "faceline_job_claims",
    "Claims of jobs by stage and attempt: the `first`, or `again` after one that did not end.",
    ("stage", "attempt"), {"stage": STAGES, "attempt": ("first", "again")},
)
JOB_PAUSES = MetricCounter(
    "faceline_job_pauses", "Times that a job was put back to be tried later, by error.",
    ("stage", "code"), {"stage": STAGES, "code": PAUSE_CODES},
)
LEASES_LOST = MetricCounter(
    "faceline_leases_lost",
    "Jobs that a worker had lost when it came to their end: others had taken them.",
)
JOBS_RELEASED = MetricCounter(
    "faceline_jobs_released", "Running jobs that were taken from a silent or dead worker.",
)
POISON_JOBS = MetricCounter(
    "faceline_poison_jobs", "Jobs that were ended because they killed their worker each time.",
)
MESSAGES_RESENT = MetricCounter(
    "faceline_messages_resent", "Messages of jobs that upkeep or a worker's parent sent again.",
    ("stage",), {"stage": STAGES},
)

# Stores, in every process ----------------------------------------------------------------

STORE_SECONDS = MetricHistogram(
    "faceline_store_seconds",
    "Seconds of calls to a store; of the database, of transactions with the waiting for locks.",
    ("store", "call"), buckets=STORE_BUCKETS,
)
STORE_ERRORS = MetricCounter(
    "faceline_store_errors", "Calls to a store that failed because of the store.",
    ("store",), {"store": _STORES},
)

# Of the deployment, from upkeep ------------------------------------------------------------

JOBS_WAITING = MetricGauge(
    "faceline_jobs_waiting", "Jobs that wait for a worker, pauses included.", ("stage",)
)
JOBS_PAUSED = MetricGauge(
    "faceline_jobs_paused", "Of the waiting jobs those in a pause after an error.", ("stage",)
)
JOBS_RUNNING = MetricGauge("faceline_jobs_running", "Jobs that a worker holds.", ("stage",))
OLDEST_WAITING = MetricGauge(
    "faceline_jobs_oldest_waiting_seconds",
    "Seconds since the oldest waiting job of the stage was accepted; 0 when none waits.",
    ("stage",),
)
WAITING_LIMIT = MetricGauge(
    "faceline_jobs_waiting_limit", "Waiting jobs from which on submits are refused."
)
BATCHES_OPEN = MetricGauge(
    "faceline_batches_open", "Batches that have not ended, by state.", ("state", "tenant")
)
BATCH_ITEMS = MetricGauge(
    "faceline_batch_items", "Items of the batches that have not ended, by state.",
    ("state", "tenant"),
)
BATCH_SOURCE_ERRORS = MetricGauge(
    "faceline_batch_source_errors", "Open batches whose source cannot be read now."
)
WEBHOOK_DELIVERIES = MetricGauge(
    "faceline_webhook_deliveries",
    "Deliveries of webhooks that wait (`waiting`) or were given up (`dead`).", ("state",),
)
WEBHOOK_OLDEST = MetricGauge(
    "faceline_webhook_oldest_waiting_seconds",
    "Seconds since the oldest waiting delivery was written; 0 when none waits.",
)
PROCESSES = MetricGauge(
    "faceline_processes", "Processes with a heartbeat in the database, by role.", ("role",)
)
PROCESSES_IN_TROUBLE = MetricGauge(
    "faceline_processes_in_trouble", "Of those the ones that cannot do their work.", ("role",)
)
STAGE_PROCESSES = MetricGauge(
    "faceline_stage_processes", "Running processes that serve a stage.", ("stage",)
)
CLOCK_OFFSET = MetricGauge(
    "faceline_clock_offset_seconds",
    "Largest difference between the clock of a process and the database's, by role.", ("role",),
)
PACKS = MetricGauge(
    "faceline_packs", "Different model packs among the running processes: 1 is right."
)
MEASURED_AT = MetricGauge(
    "faceline_measured_timestamp_seconds",
    "When upkeep last measured the deployment, in seconds since 1970.",
)

# The index process --------------------------------------------------------------------------

INDEX_GALLERIES = MetricGauge("faceline_index_galleries", "Galleries in memory.")
INDEX_FACES = MetricGauge("faceline_index_faces", "Faces in memory.")
INDEX_BYTES = MetricGauge("faceline_index_bytes", "Memory of the galleries in bytes, about.")
INDEX_LAG = MetricGauge(
    "faceline_index_lag_changes",
    "Changes that the last round over the galleries in memory had to apply.",
)
INDEX_ROUND_AT = MetricGauge(
    "faceline_index_round_timestamp_seconds",
    "When the last round over all galleries ended, in seconds since 1970; 0 before the first.",
)
CANARY_SEARCHES = MetricCounter(
    "faceline_index_canary_searches",
    "Searches that were repeated exactly, by whether they had `found` the nearest face or "
    "`missed` it.", ("result",), {"result": ("found", "missed")},
)
ENGINE_REACHED = MetricGauge(
    "faceline_vector_engine_reached",
    "Whether the vector engine has answered the last round: 1 or 0; 1 without an engine.",
)
ENGINE_GALLERIES = MetricGauge(
    "faceline_vector_engine_galleries", "Galleries that this process feeds to the vector engine."
)
ENGINE_FACES = MetricGauge(
    "faceline_vector_engine_faces", "Faces of these galleries in the vector engine."
)
ENGINE_LAG = MetricGauge(
    "faceline_vector_engine_lag_changes",
    "Changes of these galleries that the last round had to apply.",
)
SNAPSHOT_AGE = MetricGauge(
    "faceline_index_snapshot_age_seconds",
    "Seconds since the newest snapshot was written, of the gallery where that is longest ago; "
    "0 without snapshots.",
)
SNAPSHOT_DEBT = MetricGauge(
    "faceline_index_snapshot_debt",
    "Changes after the newest snapshot by those after which the next one is due, of the gallery "
    "where that is most.",
)
UNPURGED = MetricGauge(
    "faceline_index_unpurged_seconds",
    "Seconds for which a snapshot may have held a deleted face, of the gallery where it is "
    "longest; 0: none does.",
)
PURGE_AFTER = MetricGauge(
    "faceline_index_purge_after_seconds", "Seconds after which no snapshot should hold one."
)

# What runs -------------------------------------------------------------------------------------

PROCESS_INFO = MetricGauge(
    "faceline_process_info", "1 for the role of a process and its version.",
    ("role", "stages", "version"),
)
PACK_INFO = MetricGauge(
    "faceline_pack_info", "1 for the model pack of a process; `digest` begins that of its files.",
    ("pack", "digest"),
)

COUNTING = tuple(
    each for each in list(globals().values()) if isinstance(each, MetricCounter | MetricHistogram)
)
"""The metrics that are counted as things happen."""

GAUGES = tuple(each for each in list(globals().values()) if isinstance(each, MetricGauge))
"""The metrics that are read when Prometheus asks."""
