// The answers follow the choices of the form beside them; nothing is saved.

for (const form of document.querySelectorAll("form[data-preview]")) {
  let latest = 0;
  form.addEventListener("change", async () => {
    const mine = ++latest;
    const fields = new FormData(form);
    fields.set("action", "preview");
    // Not form.action: that is the buttons of this name.
    const answer = await fetch(form.getAttribute("action"), { method: "POST", body: new URLSearchParams(fields) });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById(form.dataset.preview);
    if (fresh && mine === latest) document.getElementById(form.dataset.preview).replaceWith(fresh);
  });
}
