// One key for each thing that can be done about a finding: buttons and links are pressed, fields
// are gone to.

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const found = [...document.querySelectorAll("[data-key]")]
    .find((each) => each.dataset.key.split(" ").includes(event.key));
  if (!found) return;
  event.preventDefault();
  if (found.matches("input")) found.select();
  else found.click();
});
