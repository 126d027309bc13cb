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

/** Replaces the element with this id by the one of the same id in a page at `url`. */
export async function refresh(id, url = location.href) {
  const answer = await fetch(url, { headers: { Accept: "text/html" } });
  if (answer.ok) replace(id, await answer.text());
}

/** Replaces the element with this id by the one of the same id in a page's text. */
export function replace(id, text) {
  const parsed = new DOMParser().parseFromString(text, "text/html");
  const fresh = parsed.getElementById(id), old = document.getElementById(id);
  if (!fresh || !old || old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) return;
  old.replaceWith(fresh);
  enhanceWithin(fresh);
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
  setTimeout(function again() {
    if (!document.getElementById(id)?.dataset.every) return;
    if (document.hidden) setTimeout(again, 1000);
    else refresh(id, dataset.from || location.href);
  }, Number(dataset.every) * 1000);
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
