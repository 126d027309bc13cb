"""Applications: the list, and one with its credentials."""

from __future__ import annotations

from api_shim.admin.application_credentials import (
    CREATE_CREDENTIALS,
    EXPIRE_CREDENTIAL,
    FINISH_ROTATION,
    IMPORT_CREDENTIALS,
    LIST_CREDENTIALS,
    REVOKE_CREDENTIAL,
    ROTATE_CREDENTIALS,
    CredentialItem,
    NamedCredential,
)
from api_shim.admin.applications import (
    CREATE_APPLICATION,
    DELETE_APPLICATION,
    DISABLE_APPLICATION,
    LIST_APPLICATIONS,
    ApplicationSwitch,
    IssuedCredentials,
    NamedApplication,
)
from api_shim.auth.issuing import KEEP_H
from api_shim.console.page import Page, View
from api_shim.console.pages.application import (
    PATH,
    ROOT,
    chosen,
    name_of,
    path_of,
    read_given,
    show_page,
)
from api_shim.console.rendering import render
from api_shim.dialects.registry import profiles
from api_shim.requests import Reply
from pipeline.accounts.credential_set import Credentials
from pipeline.errors import InvalidParameter

PHOTO = "photo.jpg"

KINDS = {
    "signed": "appId and appSecret (document e)", "key": "API key (documents b and d, and polls)",
    "number": "Apid and Kvalue (document a)", "id_secret": "api_id and api_secret (document c)",
}

PLACEHOLDERS = {
    "signed": {"app_secret": "APP_SECRET"}, "key": {"api_key": "API_KEY"},
    "number": {"kvalue": "KVALUE"}, "id_secret": {"api_secret": "API_SECRET"},
}
"""What stands in a line for curl where the secret belongs."""

_PUBLIC = {"signed": "app_id", "number": "apid", "id_secret": "api_id"}


def show_list(view: View) -> Reply:
    return render(
        view, "applications/list.html", page=view.perform(
            LIST_APPLICATIONS, view.read(LIST_APPLICATIONS)
        ),
        path_of=path_of, kinds=KINDS, profiles=list(profiles()),
        encrypts=view.services.service.settings.encrypt_at_rest,
        may_create=view.permits(CREATE_APPLICATION),
    )


def create(view: View) -> Reply:
    fields = view.fields
    given = read_given(
        CREATE_APPLICATION, application=fields.get("application", "").strip(),
        encrypted="encrypted" in fields, kinds=chosen(view, "kind-"), sm2="sm2" in fields,
        profile=fields.get("profile"),
    )
    issued = view.perform(CREATE_APPLICATION, given)
    if issued.credentials:
        return show_secrets(view, issued)
    notice = view.texts.gettext("The application is made. It has no credentials yet.")
    return view.redirect(path_of(issued.application), notice)


def show(view: View) -> Reply:
    named = NamedApplication(name_of(view))
    entries = view.perform(LIST_CREDENTIALS, named).credentials
    live = [each for each in entries if not each.expired]
    return show_page(
        view, "application.html", entries=entries, kinds=KINDS, keep_h=KEEP_H,
        lines=curl_lines(view, _without_secrets(live)), photo=PHOTO,
        may_change=view.permits(CREATE_CREDENTIALS), may_delete=view.permits(DELETE_APPLICATION),
    )


def change(view: View) -> Reply:
    """Carry out one of the page's forms."""
    action = _ACTIONS.get(view.fields.get("action", ""))
    if action is None:
        raise InvalidParameter("there is no such action")
    return action(view)


def show_secrets(view: View, issued: IssuedCredentials) -> Reply:
    """The only page with the secrets: the answer to a form, which no cache and no address
    holds."""
    credentials = Credentials(**{"app_id": "", "app_secret": "", **issued.credentials})  # type: ignore[arg-type]
    return render(
        view, "applications/secrets.html", name=issued.application,
        back=view.link(path_of(issued.application)), secrets=credentials.labelled(),
        lines=curl_lines(view, credentials), photo=PHOTO,
    )


def curl_lines(view: View, credentials: Credentials) -> dict[str, tuple[str, str]]:
    """(the document's title, a line that calls it) by letter, of each document that credentials
    are there for."""
    url = view.origin
    lines = {
        letter: (dialect.title, dialect.curl_line(url, credentials, PHOTO))
        for letter, dialect in view.services.dialects.items()
    }
    return {letter: each for letter, each in lines.items() if each[1]}


def _without_secrets(entries: list[CredentialItem]) -> Credentials:
    """The newest credential of each kind, with placeholders for secrets."""
    known: dict[str, str] = {"app_id": "", "app_secret": ""}
    for each in entries:
        known |= PLACEHOLDERS[each.kind]
        if each.kind in _PUBLIC:
            known[_PUBLIC[each.kind]] = each.id
    return Credentials(**known)  # type: ignore[arg-type]


def _create(view: View) -> Reply:
    given = read_given(
        CREATE_CREDENTIALS, application=name_of(view), kinds=chosen(view, "kind-"),
        sm2="sm2" in view.fields, sm2_public_key=view.fields.get("sm2_public_key"),
    )
    return show_secrets(view, view.perform(CREATE_CREDENTIALS, given))


def _import(view: View) -> Reply:
    text = view.fields.get("text", "")
    given = read_given(IMPORT_CREDENTIALS, application=name_of(view), text=text)
    taken = view.perform(IMPORT_CREDENTIALS, given)
    notice = view.texts.gettext("Taken over: %s") % ", ".join(taken.ids)
    return view.redirect(path_of(name_of(view)), notice)


def _rotate(view: View) -> Reply:
    given = read_given(
        ROTATE_CREDENTIALS, application=name_of(view), credential=view.fields.get("credential"),
        keep_h=view.fields.get("keep_h"),
    )
    return show_secrets(view, view.perform(ROTATE_CREDENTIALS, given))


def _finish(view: View) -> Reply:
    ended = view.perform(FINISH_ROTATION, NamedApplication(name_of(view))).ended
    notice = view.texts.gettext("%d former secrets are ended.") % ended
    return view.redirect(path_of(name_of(view)), notice)


def _revoke(view: View) -> Reply:
    public_id = view.fields.get("credential", "")
    view.perform(REVOKE_CREDENTIAL, NamedCredential(name_of(view), public_id))
    notice = view.texts.gettext("%s is revoked.") % public_id
    return view.redirect(path_of(name_of(view)), notice)


def _expire(view: View) -> Reply:
    given = read_given(
        EXPIRE_CREDENTIAL, application=name_of(view), credential=view.fields.get("credential"),
        days=view.fields.get("days"),
    )
    view.perform(EXPIRE_CREDENTIAL, given)
    notice = view.texts.gettext("The expiry of %s is changed.") % given.credential
    return view.redirect(path_of(name_of(view)), notice)


def _switch(view: View) -> Reply:
    disabled = view.fields["action"] == "disable"
    view.perform(
        DISABLE_APPLICATION, ApplicationSwitch(application=name_of(view), disabled=disabled)
    )
    text = "The application is disabled." if disabled else "The application is active again."
    return view.redirect(path_of(name_of(view)), view.texts.gettext(text))


def _delete(view: View) -> Reply:
    given = read_given(
        DELETE_APPLICATION, application=name_of(view), confirm=view.fields.get("confirm", " ")
    )
    receipt = view.perform(DELETE_APPLICATION, given).receipt
    notice = view.texts.gettext("%(name)s is deleted. Receipt: %(receipt)s") % {
        "name": name_of(view), "receipt": receipt,
    }
    return view.redirect(ROOT, notice)


_ACTIONS = {
    "create": _create, "import": _import, "rotate": _rotate, "finish": _finish, "revoke": _revoke,
    "expire": _expire, "disable": _switch, "enable": _switch, "delete": _delete,
}

PAGES = (
    Page(ROOT, get=show_list, post=create),
    Page(PATH, get=show, post=change),
)

