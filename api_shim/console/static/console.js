// What every page does: times in the reader's zone, questions before what cannot be undone,
// parts that are fetched anew, files that are dropped. Pages work without it, but for the last two.

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

/** Runs `mend` on everything in the page that matches, now and after a part was replaced. */
const mends = [];
export function enhance(selector, mend) {
  mends.push([selector, mend]);
  document.querySelectorAll(selector).forEach(mend);
}
function enhanceWithin(part) {
  for (const [selector, mend] of mends) {
    if (part.matches(selector)) mend(part);
    part.querySelectorAll(selector).forEach(mend);
  }
}

/** Sends a form's fields, or anything else that fetch takes, with the session's token. */
export function post(url, body) {
  if (body instanceof FormData && !body.has("csrf")) body.append("csrf", csrf);
  return fetch(url, { method: "POST", body, headers: { "X-CSRF-Token": csrf } });
}

/** Makes the part `old` equal to `fresh`, which it keeps as far as they agree: what is focused, scrolled
 *  or opened stays so. Elements with `data-key` are known by it among their neighbours. */
function morph(old, fresh) {
  if (old.nodeName !== fresh.nodeName || old.dataset?.key !== fresh.dataset?.key) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const keyed = new Map([...old.children].filter((each) => each.dataset.key).map((each) => [each.dataset.key, each]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = child.dataset?.key;
    const kept = key ? keyed.get(key) : at && !at.dataset?.key ? at : null;
    if (kept && kept === at) at = at.nextSibling;
    else old.insertBefore(kept ?? child, at);
    if (kept) morph(kept, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Brings the element with this id up to date from parsed HTML; false where it cannot be now. */
function update(id, parsed) {
  const fresh = parsed.getElementById(id), old = document.getElementById(id);
  if (!fresh || !old || old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return false;
  enhanceWithin(fresh);
  morph(old, fresh);
  return true;
}
const parse = (text) => new DOMParser().parseFromString(text, "text/html");

/** Replaces the element with this id by the one of the same id in a page's text. */
export function replace(id, text) {
  return update(id, parse(text));
}

/** Replaces the element with this id by the one of the same id in a page at `url`. */
export async function refresh(id, url = location.href) {
  try {
    const answer = await fetch(url, { headers: { Accept: "text/html" } });
    return answer.ok && update(id, parse(await answer.text()));
  } catch {
    return false;  // the service is away for a moment
  }
}

const wide = matchMedia("(min-width: 60rem)");
enhance("[data-menu]", (menu) => {
  const follow = () => { menu.open = wide.matches; };
  follow();
  wide.addEventListener("change", follow);
});

const moment = new Intl.DateTimeFormat(document.documentElement.lang, {
  dateStyle: "medium", timeStyle: "medium",
});
enhance("time[datetime]", (each) => {
  each.title = each.textContent;
  each.textContent = moment.format(new Date(each.dateTime));
});

enhance("form[data-confirm]", (form) => {
  form.addEventListener("submit", (event) => {
    if (!confirm(form.dataset.confirm)) event.preventDefault();
  });
});

// A part with data-every="3" is fetched anew every three seconds while the page is seen.
enhance("[data-every]", (part) => {
  const { id, dataset } = part;
  setTimeout(async function again() {
    if (!document.getElementById(id)?.dataset.every) return;
    if (document.hidden) setTimeout(again, 1000);
    else if (!await refresh(id, dataset.from || location.href)) setTimeout(again, Number(dataset.every) * 1000);
  }, Number(dataset.every) * 1000);
});

// A part with data-events="URL" is kept up to date by the stream of events at the URL, each of which
// is the part anew. Where the stream is refused, the page is fetched every few seconds until it is not.
const streams = new Map();
enhance("[data-events]", (part) => {
  const { id, dataset: { events } } = part;
  if (streams.has(events)) return;
  const open = () => {
    if (document.hidden) return;
    const stream = new EventSource(events);
    streams.set(events, stream);
    stream.addEventListener("message", ({ data }) => update(id, parse(data)));
    stream.addEventListener("error", () => {
      if (stream.readyState !== EventSource.CLOSED || streams.get(events) !== stream) return;
      setTimeout(() => { refresh(id); open(); }, 5000);
    });
  };
  streams.set(events, null);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) streams.get(events)?.close();
    else open();
  });
  open();
});

// A field for files inside .drop takes what is dropped there; with data-send the form is sent at once.
enhance(".drop", (place) => {
  const field = place.querySelector('input[type="file"]');
  const over = (event) => { event.preventDefault(); place.classList.add("over"); };
  place.addEventListener("dragenter", over);
  place.addEventListener("dragover", over);
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    field.files = event.dataTransfer.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  });
  field.addEventListener("change", () => {
    if ("send" in place.dataset && field.files.length) field.form.requestSubmit();
  });
});

enhance("button[data-copy]", (button) => {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = button.dataset.copied || "✓";
  });
});
