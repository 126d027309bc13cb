"""Receipts of deletions as pages."""

from __future__ import annotations

from api_shim.admin.receipts import DOWNLOAD_RECEIPT, LIST_RECEIPTS, SHOW_RECEIPT, ReceiptsQuery
from api_shim.admin.routes import file_reply
from api_shim.console.page import Page, View
from api_shim.console.pages.gallery import RECEIPTS, gallery_page
from api_shim.requests import Reply


def show_list(view: View) -> Reply:
    given: ReceiptsQuery = view.read(LIST_RECEIPTS)
    found = view.perform(LIST_RECEIPTS, given).receipts
    return gallery_page(view, "gallery/receipts.html", given.application, found=found)


def show(view: View) -> Reply:
    found = view.perform(SHOW_RECEIPT, view.read(SHOW_RECEIPT))
    return gallery_page(
        view, "gallery/receipt.html", found.state.application, state=found.state,
        document=found.document,
    )


def download(view: View) -> Reply:
    return file_reply(view.perform(DOWNLOAD_RECEIPT, view.read(DOWNLOAD_RECEIPT)))


PAGES = (
    Page(RECEIPTS, get=show_list),
    Page(f"{RECEIPTS}/{{receipt}}", get=show),
    Page(f"{RECEIPTS}/{{receipt}}/document", get=download),
)
