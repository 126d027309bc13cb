// Trying pictures and clips: sends the form without leaving the page, so that the results can show
// the files that the browser has; takes pictures with the camera; slides the threshold.

const { enhance, post, replace } = await import(document.querySelector('script[src*="/console."]').src);

const JPEG_QUALITY = 0.95;
const CLIP_MS = 5000;

/** The files that were sent, by the names of their fields, as addresses for this page. */
const files = new Map();

function keep(name, file) {
  if (files.has(name)) URL.revokeObjectURL(files.get(name));
  if (file) files.set(name, URL.createObjectURL(file));
  else files.delete(name);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-try]")) return;
  event.preventDefault();
  const button = form.querySelector("[data-go]");
  button.disabled = true;
  for (const field of form.querySelectorAll('input[type="file"]')) keep(field.name, field.files[0]);
  document.activeElement?.blur();
  try {
    // Not form.action: that is the field of this name.
    const answer = await post(form.getAttribute("action"), new FormData(form));
    const text = await answer.text();
    if (answer.redirected) history.pushState(null, "", answer.url);
    if (text.includes('id="try"')) replace("try", text);
    else replace("main", text);
  } catch {
    form.submit();
  }
  document.querySelector("#main").focus();
});
addEventListener("popstate", () => location.reload());

// Results name the files that they show; those of another visit are not here.
function showFiles() {
  for (const each of document.querySelectorAll("image[data-file]:not([href])")) {
    if (files.has(each.dataset.file)) each.setAttribute("href", files.get(each.dataset.file));
  }
  const frames = [...document.querySelectorAll("img[data-frame]:not([data-asked])")];
  for (const each of frames) each.dataset.asked = "";
  // A browser that cannot play the clip shows the times alone.
  if (frames.length && files.has(frames[0].dataset.frame)) showFrames(frames).catch(() => {});
}
new MutationObserver(showFiles).observe(document.querySelector("main"), { childList: true, subtree: true });

// A chosen file is shown before it is sent.
enhance("[data-take]", (place) => {
  const field = place.querySelector('input[type="file"]'), shown = place.querySelector("[data-preview]");
  field.addEventListener("change", () => {
    if (shown.src) URL.revokeObjectURL(shown.src);
    shown.hidden = !field.files.length || !field.files[0].type.startsWith("image/");
    if (shown.hidden) shown.removeAttribute("src");
    else shown.src = URL.createObjectURL(field.files[0]);
  });
  shown.addEventListener("error", () => { shown.hidden = true; });
});

enhance("[data-camera]", (button) => {
  if (!navigator.mediaDevices?.getUserMedia) return;
  const place = button.closest("[data-take]"), view = place.querySelector("[data-view]");
  const video = view.querySelector("video"), shoot = view.querySelector("[data-shoot]");
  const refused = place.querySelector("[data-refused]");
  let stream = null;
  button.hidden = false;
  function stop() {
    stream?.getTracks().forEach((track) => track.stop());
    stream = video.srcObject = null;
    view.hidden = true;
    button.hidden = false;
  }
  function take(blob, name) {
    const taken = new DataTransfer(), field = place.querySelector('input[type="file"]');
    taken.items.add(new File([blob], name, { type: blob.type }));
    field.files = taken.files;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    stop();
  }
  button.addEventListener("click", async () => {
    refused.hidden = true;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    } catch {
      refused.hidden = false;
      return;
    }
    video.srcObject = stream;
    shoot.disabled = true;
    view.hidden = false;
    button.hidden = true;
    await video.play();
    shoot.disabled = false;
    shoot.focus();
  });
  view.querySelector("[data-stop]").addEventListener("click", stop);
  shoot.addEventListener("click", () => {
    if (button.dataset.camera === "clip") {
      const recorder = new MediaRecorder(stream), parts = [];
      recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
      recorder.addEventListener("stop", () => take(new Blob(parts, { type: recorder.mimeType }), "camera.webm"));
      recorder.start();
      shoot.disabled = true;
      setTimeout(() => { recorder.stop(); shoot.disabled = false; }, CLIP_MS);
      return;
    }
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => take(blob, "camera.jpg"), "image/jpeg", JPEG_QUALITY);
  });
});

enhance("[data-threshold]", (form) => {
  const range = form.elements.threshold, rates = JSON.parse(form.dataset.rates);
  form.querySelector("[data-apply]").hidden = true;
  form.addEventListener("submit", (event) => event.preventDefault());
  range.addEventListener("input", () => {
    form.querySelector("output").textContent = range.value;
    form.querySelector("[data-rate]").textContent = rates[range.value];
    for (const cell of document.querySelectorAll("[data-score]")) {
      const same = Number(cell.dataset.score) >= Number(range.value);
      const verdict = cell.querySelector("[data-verdict]");
      verdict.textContent = same ? form.dataset.same : form.dataset.different;
      verdict.classList.toggle("good", same);
    }
  });
});

// The frames that decided are cut out of the clip that the browser has.
async function showFrames(images) {
  const video = document.createElement("video"), canvas = document.createElement("canvas");
  video.muted = true;
  video.preload = "auto";
  video.src = files.get(images[0].dataset.frame);
  await new Promise((done, failed) => { video.onloadeddata = done; video.onerror = failed; });
  const scale = Math.min(480 / video.videoWidth, 1);
  canvas.width = video.videoWidth * scale;
  canvas.height = video.videoHeight * scale;
  for (const image of images) {
    await new Promise((done) => { video.onseeked = done; video.currentTime = Number(image.dataset.at) + 0.001; });
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    image.src = canvas.toDataURL("image/jpeg", JPEG_QUALITY);
    image.hidden = false;
  }
}
