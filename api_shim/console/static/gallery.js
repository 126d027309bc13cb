// Enrolling photos: each is sent by itself, with its thumbnail beside what becomes of it.
// Without this script the form sends all of them at once.

const form = document.querySelector("form[data-enrol]");
const photos = form?.querySelector('input[type="file"]');
const waiting = ["queued", "running"];

form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const list = document.querySelector("#enrolled > .scroll"), button = form.querySelector("button");
  document.getElementById("enrolled").removeAttribute("data-every");
  list.hidden = false;
  button.disabled = true;
  const fields = new FormData(form);
  fields.delete("photos");
  for (const file of [...photos.files]) await send(file, fields, list.querySelector("tbody"));
  photos.value = "";
  button.disabled = false;
});

async function send(file, fields, rows) {
  const body = new FormData();
  for (const [name, value] of fields) body.append(name, value);
  body.append("photos", file, file.name);
  const page = await read(form.action, { method: "POST", body });
  const row = page?.querySelector("#enrolled tbody tr, #refused tbody tr");
  if (!row) {
    const problem = page?.querySelector(".problem")?.textContent;
    return rows.append(failed(file, problem || form.dataset.failed));
  }
  rows.append(row);
  show(row, file);
  if (waiting.includes(row.dataset.state)) follow(row, file);
}

function failed(file, why) {
  const row = document.createElement("tr");
  for (const text of ["", file.name, "–", why]) row.insertCell().textContent = text;
  row.cells[0].className = "thumb";
  show(row, file);
  return row;
}

function follow(row, file) {
  setTimeout(async () => {
    const url = new URL(form.dataset.progress, location.href);
    url.searchParams.set("jobs", row.dataset.job);
    const fresh = (await read(url))?.querySelector(`tr[data-job="${row.dataset.job}"]`);
    if (fresh) {
      row.replaceWith(fresh);
      show(fresh, file);
    }
    const now = fresh || row;
    if (waiting.includes(now.dataset.state)) follow(now, file);
  }, 1000);
}

/** Puts the file's own thumbnail where the server has none. */
function show(row, file) {
  const place = row.querySelector(".thumb");
  if (place.children.length) return;
  const image = new Image(64, 64);
  image.alt = "";
  image.src = URL.createObjectURL(file);
  image.onload = () => URL.revokeObjectURL(image.src);
  image.onerror = () => image.remove();
  place.append(image);
}

async function read(url, options) {
  try {
    const answer = await fetch(url, options);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return null;
  }
}
