"""``/batches``: whole sources, enrolled in the background."""

from __future__ import annotations

import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from api_shim.asgi import call_from_scope, json_reply, problem, to_response
from api_shim.batches.replies import batch_href, batch_json, items_json
from api_shim.batches.requests import (
    BatchesQuery,
    BatchRequest,
    ItemsQuery,
    read_batch,
    read_query,
    read_retry,
)
from api_shim.body import BodyKind, BodyReader, Disconnected
from api_shim.job_access import authenticate_by_header
from api_shim.per_caller_limit import PerCallerLimit, claimed_caller
from api_shim.protocol import check_connection_slot
from api_shim.requests import Call, Reply
from api_shim.service import Service, in_thread
from api_shim.submit import POLL_AFTER_S, error_reply, log_failure
from pipeline import errors, storage_keys
from pipeline.accounts.model import Tenant
from pipeline.batches.duplicate_search import Finding
from pipeline.batches.model import Batch, BatchOptions, ItemState
from pipeline.batches.unattended import encode_list, list_name, prefix_name
from pipeline.encryption.hashing import digest
from pipeline.errors import FaceError
from pipeline.jobs.store import MAX_KEY_CHARS
from pipeline.sources.import_bucket import import_location

OPERATION = "batch"
"""The name under which limits and permissions know the start of a batch."""

MAX_FINDINGS = 100  # findings that a batch shows

MAX_CACHED_REASONS = 200  # batches whose reasons are kept counted

_ID = re.compile(r"[0-9a-f]{32}")

STATUSES: dict[type[FaceError], int] = {
    errors.BadCredentials: 401,
    errors.CredentialExpired: 401,
    errors.TenantNotFound: 401,
    errors.NotPermitted: 403,
    errors.ConfigurationError: 403,
    errors.LimitReached: 429,
    errors.IdempotencyConflict: 409,
    errors.Conflict: 409,
    errors.CollectionNotFound: 400,
    errors.NotFound: 404,
    errors.MediaTooLarge: 413,
    errors.BadInput: 400,
}
"""HTTP statuses of errors, the first that fits."""

Reasons = Counter[tuple[ItemState, str]]

Handler = Callable[["BatchHandlers", Call, Tenant], Reply]


class BatchHandlers:
    """What is done at these paths. Methods block, and raise ``FaceError``."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._batches = service.batches
        self._reasons_cache: dict[tuple[str, float], Reasons] = {}
        self._lock = threading.Lock()

    def authenticate(self, call: Call) -> Tenant:
        """Whose request this is. Raises ``BadCredentials``."""
        tenant = authenticate_by_header(call, self._service.tenants)
        if tenant is None:
            raise errors.BadCredentials
        return tenant

    def start(self, call: Call, tenant: Tenant) -> Reply:
        with self._service.admission.begin("", OPERATION, call) as visit:
            visit.admit(tenant)
            self._require_imports(tenant)
            request = read_batch(call.body)
            self._check_collections(tenant, request)
            batch, fresh = self._open(tenant, request, call.headers.get("idempotency-key"))
        headers = {"Location": batch_href(batch), "Retry-After": str(POLL_AFTER_S)}
        return json_reply(202 if fresh else 200, self._to_json(batch), headers)

    def list(self, call: Call, tenant: Tenant) -> Reply:
        asked = read_query(call.query, BatchesQuery)
        page = self._batches.page(tenant.id, offset=asked.offset, limit=asked.limit)
        return json_reply(
            200, {"total": page.total, "batches": [batch_json(each) for each in page.batches]}
        )

    def show(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        if not batch.ended:
            return json_reply(200, self._to_json(batch, Counter()))
        found = self._batches.findings(batch.id, MAX_FINDINGS)
        return json_reply(200, self._to_json(batch, self._reasons(batch), found))

    def _to_json(
        self, batch: Batch, reasons: Reasons | None = None,
        found: Sequence[Finding] | None = None,
    ) -> Mapping[str, object]:
        """A batch, and what it waits for."""
        waits_for = self._batches.waiting_reason(batch)
        shown = batch_json(batch, reasons, found)
        return {**shown, "waits_for": None if waits_for is None else waits_for.to_json()}

    def _reasons(self, batch: Batch) -> Reasons:
        """Counted once: a million items take seconds, and who polls asks again."""
        counted = (batch.id, batch.updated_at)
        with self._lock:
            known = self._reasons_cache.get(counted)
        if known is None:
            known = self._batches.reason_counts(batch.id)
            with self._lock:
                while len(self._reasons_cache) >= MAX_CACHED_REASONS:
                    del self._reasons_cache[next(iter(self._reasons_cache))]
                self._reasons_cache[counted] = known
        return known

    def items(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        asked = read_query(call.query, ItemsQuery)
        found = self._batches.items(
            batch.id, after=asked.after, limit=asked.limit, state=asked.state,
            reason=asked.reason,
        )
        return json_reply(200, items_json(found, asked.limit))

    def cancel(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        ended = self._batches.cancel(tenant.id, batch.id, self._service.jobs)
        return json_reply(200, self._to_json(ended))

    def retry(self, call: Call, tenant: Tenant) -> Reply:
        batch = self._get_batch(call, tenant)
        if not batch.options.unattended:
            raise errors.BatchBusy("An operator reads this batch's source: he can repeat it.")
        self._require_imports(tenant)
        asked = read_retry(call.body)
        count = self._batches.retry(
            tenant.id, batch.id, states=asked.item_states, reasons=asked.reasons
        )
        again = self._batches.get(tenant.id, batch.id)
        return json_reply(200, {"retried": count, **self._to_json(again)})

    # -- starting -----------------------------------------------------------------

    def _open(
        self, tenant: Tenant, request: BatchRequest, key: str | None
    ) -> tuple[Batch, bool]:
        """(a new batch, True), or (the earlier one under the same key, False). Raises
        ``IdempotencyConflict`` when that is another."""
        fingerprint = digest(
            "batch", str(tenant.id), _check_idempotency_key(key) or uuid.uuid4().hex
        )
        source = self._source(tenant, request, fingerprint)
        options = BatchOptions(
            collection=request.collection, faces=request.faces, gate=request.gate,
            reject_duplicates=request.refuse_doubles, layout=request.layout, unattended=True,
        )
        batch, fresh = self._batches.open(tenant.id, fingerprint, source, options)
        if not fresh and (batch.source, batch.options) != (source, options):
            raise errors.IdempotencyConflict
        return batch, fresh

    def _source(self, tenant: Tenant, request: BatchRequest, fingerprint: str) -> str:
        """What the batch is to be made of; a list is stored. One that is stored and
        becomes no batch is swept."""
        if request.items is None:
            return prefix_name(request.prefix or "")
        data, media = encode_list(request.items), self._service.media
        key = storage_keys.list_media(tenant.id, fingerprint, media.name(tenant.id, data))
        media.put(key, data)
        return list_name(key)

    def _require_imports(self, tenant: Tenant) -> None:
        import_location(self._service.settings, tenant.id)

    def _check_collections(self, tenant: Tenant, request: BatchRequest) -> None:
        named = {request.collection, *(item.collection for item in request.items or ())}
        self._service.records.collections.resolve(tenant.id, sorted(named - {""}))

    def _get_batch(self, call: Call, tenant: Tenant) -> Batch:
        batch_id = call.path_values["batch_id"]
        if _ID.fullmatch(batch_id) is None:
            raise errors.BatchNotFound
        return self._batches.get(tenant.id, batch_id)


class BatchRoute:
    """One of the paths, as an ASGI application."""

    def __init__(
        self, service: Service, batch_handlers: BatchHandlers, handlers: Mapping[str, Handler],
        bodies: BodyReader, caller_limit: PerCallerLimit, body_kind: BodyKind = BodyKind.PLAIN,
    ) -> None:
        self._service = service
        self._batch_handlers = batch_handlers
        self._handlers = handlers
        self._bodies = bodies
        self._caller_limit = caller_limit
        self._body_kind = body_kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Disconnected):
            reply = await self._reply(scope, receive)
            await to_response(reply)(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        call = call_from_scope(scope)
        method = "GET" if call.method == "HEAD" else call.method
        handler = self._handlers.get(method)
        if handler is None:
            allow = ", ".join(sorted(self._handlers))
            return problem(
                405, "method_not_allowed", f"The path takes {allow}.", {"Allow": allow}
            )
        try:
            check_connection_slot(scope)
            return await self._handle(handler, call, scope, receive)
        except Exception as error:  # noqa: BLE001  # the one place where they become answers
            log_failure(error, call)
            return error_reply(error, STATUSES)

    async def _handle(
        self, handler: Handler, call: Call, scope: Scope, receive: Receive
    ) -> Reply:
        def handled(whole: Call) -> Reply:
            return handler(self._batch_handlers, whole, self._batch_handlers.authenticate(whole))

        if call.method != "POST":
            return await in_thread(self._service.threads.reads, handled, call)
        caller = claimed_caller(call, scope)
        async with (
            self._bodies.read(receive, call.headers, self._body_kind, caller=caller) as body,
            self._caller_limit.slot(caller),
        ):
            return await in_thread(
                self._service.threads.intake, handled, replace(call, body=body)
            )


def batch_routes(
    service: Service, bodies: BodyReader, caller_limit: PerCallerLimit
) -> dict[str, BatchRoute]:
    """The applications by their paths."""
    desk = BatchHandlers(service)

    def made(size: BodyKind = BodyKind.PLAIN, **handlers: Handler) -> BatchRoute:
        return BatchRoute(service, desk, handlers, bodies, caller_limit, size)

    return {
        "/batches": made(BodyKind.PICTURES, GET=BatchHandlers.list, POST=BatchHandlers.start),
        "/batches/{batch_id}": made(GET=BatchHandlers.show),
        "/batches/{batch_id}/items": made(GET=BatchHandlers.items),
        "/batches/{batch_id}/cancel": made(POST=BatchHandlers.cancel),
        "/batches/{batch_id}/retry": made(POST=BatchHandlers.retry),
    }


def _check_idempotency_key(key: str | None) -> str | None:
    if key is not None and (
        not 0 < len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable())
    ):
        raise errors.InvalidParameter(
            f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} printable ASCII characters"
        )
    return key
