"""``/batches``: whole sources, enrolled in the background."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from starlette.types import Receive

from api_shim.asgi import POLL_AFTER_S, json_reply
from api_shim.batches import replies, requests
from api_shim.batches.opening import open_batch, store_source
from api_shim.batches.requests import BatchRequest
from api_shim.body import BodyKind
from api_shim.job_access import authenticate_by_header
from api_shim.requests import Call, Reply
from api_shim.resource import Handler, Resource
from api_shim.service import Service
from api_shim.thread_pools import in_thread
from pipeline import errors
from pipeline.accounts.model import Tenant
from pipeline.batches.findings import Finding
from pipeline.batches.model import Batch, BatchOptions, ItemState
from pipeline.batches.unattended import encode_list, list_name, prefix_name
from pipeline.encryption.hashing import digest
from pipeline.sources.import_bucket import import_location

OPERATION = "batch"
"""The name of starting a batch in limits and permissions."""

MAX_FINDINGS = 100  # findings that a batch shows

MAX_CACHED_REASONS = 200  # batches whose counted reasons are cached

_ID = re.compile(r"[0-9a-f]{32}")

Reasons = Counter[tuple[ItemState, str]]

Action = Callable[[Call, Tenant], Reply]


def batch_routes(service: Service) -> dict[str, Resource]:
    """The applications by their paths."""
    handlers = BatchHandlers(service)

    def read(action: Action) -> Handler:
        async def handle(call: Call, _receive: Receive) -> Reply:
            return await in_thread(service.threads.reads, handlers.run, action, call)

        return handle

    def write(action: Action, kind: BodyKind = BodyKind.PLAIN) -> Handler:
        async def handle(call: Call, receive: Receive) -> Reply:
            work = partial(handlers.run, action)
            return await service.intake.run(call, receive, kind, work)

        return handle

    return {
        "/batches": Resource(
            GET=read(handlers.list), POST=write(handlers.start, BodyKind.PICTURES)
        ),
        "/batches/{batch_id}": Resource(GET=read(handlers.show)),
        "/batches/{batch_id}/items": Resource(GET=read(handlers.items)),
        "/batches/{batch_id}/cancel": Resource(POST=write(handlers.cancel)),
        "/batches/{batch_id}/retry": Resource(POST=write(handlers.retry)),
    }


class BatchHandlers:
    """The actions behind these paths. Methods block and raise ``FaceError``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._batches = service.batches
        # Counting a million items takes seconds, and pollers ask repeatedly.
        self._reasons = lru_cache(MAX_CACHED_REASONS)(
            lambda batch_id, _updated_at: self._batches.reason_counts(batch_id)
        )

    def run(self, action: Action, call: Call) -> Reply:
        """Authenticate, then act. Raises ``BadCredentials``."""
        tenant = authenticate_by_header(call, self._service.tenants)
        if tenant is None:
            raise errors.BadCredentials
        return action(call, tenant)

    def start(self, call: Call, tenant: Tenant) -> Reply:
        with self._service.admission.begin(OPERATION, call) as admission:
            admission.admit(tenant)
            self._require_imports(tenant)
            request = requests.read_batch(call.body)
            named = {request.collection, *(item.collection for item in request.items or ())}
            self._service.records.collections.resolve(tenant.id, sorted(named - {""}))
            batch, created = self._open(tenant, request, call.idempotency_key)
        href = replies.batch_href(batch, call.mount)
        headers = {"Location": href, "Retry-After": str(POLL_AFTER_S)}
        return json_reply(202 if created else 200, self._shown(batch, call), headers)

    def list(self, call: Call, tenant: Tenant) -> Reply:
        query = requests.read_query(call.query, requests.BatchesQuery)
        page = self._batches.page(tenant.id, offset=query.offset, limit=query.limit)
        listed = [
            replies.ListedBatch(**replies.batch_values(batch, call.mount))
            for batch in page.batches
        ]
        return json_reply(200, replies.BatchList(total=page.total, batches=listed))

    def show(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        findings = self._batches.findings(batch.id, MAX_FINDINGS) if batch.ended else None
        counted = self._reasons(batch.id, batch.updated_at) if batch.ended else Reasons()
        reasons, values = replies.reason_counts(counted), self._values(batch, call, findings)
        return json_reply(200, replies.BatchWithReasons(**values, reasons=reasons))

    def items(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        query = requests.read_query(call.query, requests.ItemsQuery)
        found = self._batches.items(
            batch.id, after=query.after, limit=query.limit, state=query.state, reason=query.reason
        )
        return json_reply(200, replies.item_list(found, query.limit))

    def cancel(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        cancelled = self._batches.cancel(tenant.id, batch.id, self._service.jobs)
        return json_reply(200, self._shown(cancelled, call))

    def retry(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        if not batch.options.unattended:
            raise errors.BatchBusy(
                "The source of this batch is read by the operator, who can run it again."
            )
        self._require_imports(tenant)
        request = requests.read_retry(call.body)
        count = self._batches.retry(
            tenant.id, batch.id, states=request.item_states, reasons=request.reasons
        )
        retried = self._batches.get(tenant.id, batch.id)
        return json_reply(200, replies.RetriedBatch(**self._values(retried, call), retried=count))

    def _open(self, tenant: Tenant, request: BatchRequest, key: str | None) -> tuple[Batch, bool]:
        """(the new batch, True), or (the earlier batch, False) under the same key. Raises
        ``IdempotencyConflict`` if the earlier request differs."""
        fingerprint = digest("batch", str(tenant.id), key or uuid.uuid4().hex)
        source = self._source(tenant, request, fingerprint)
        options = BatchOptions(
            collection=request.collection, faces=request.faces, gate=request.gate,
            reject_duplicates=request.refuse_doubles, layout=request.layout, unattended=True,
            take_litter=request.take_litter,
        )
        return open_batch(self._batches, tenant, fingerprint, source, options)

    def _source(self, tenant: Tenant, request: BatchRequest, fingerprint: str) -> str:
        """The name of the batch's source. A list is stored."""
        if request.items is None:
            return prefix_name(request.prefix or "")
        data = encode_list(request.items)
        return list_name(store_source(self._service.media, tenant, fingerprint, data))

    def _require_imports(self, tenant: Tenant) -> None:
        import_location(self._service.settings, tenant.id)

    def _get_batch(self, call: Call, tenant: Tenant) -> Batch:
        batch_id = call.path_values["batch_id"]
        if _ID.fullmatch(batch_id) is None:
            raise errors.BatchNotFound
        return self._batches.get(tenant.id, batch_id)

    def _shown(self, batch: Batch, call: Call) -> replies.ShownBatch:
        return replies.ShownBatch(**self._values(batch, call))

    def _values(
        self, batch: Batch, call: Call, findings: Sequence[Finding] | None = None
    ) -> dict[str, Any]:
        """The members of ``ShownBatch``."""
        waits_for = self._batches.waiting_reason(batch)
        return {
            **replies.batch_values(batch, call.mount, findings),
            "waits_for": None if waits_for is None else replies.BatchDelay(**waits_for.to_json()),
        }
