"use strict";

// Light, dark, or as the system says; kept where the browser allows it.
(() => {
  const root = document.documentElement, button = document.getElementById("theme"), names = ["system", "light", "dark"];
  let chosen = "system";
  const show = (name) => {
    chosen = names.includes(name) ? name : "system";
    if (chosen === "system") delete root.dataset.theme; else root.dataset.theme = chosen;
    button.textContent = `Theme: ${chosen}`;
    document.dispatchEvent(new Event("themechange"));
  };
  const remembered = (act) => { try { return act(); } catch { return null; } };
  button.hidden = false;
  button.addEventListener("click", () => {
    show(names[(names.indexOf(chosen) + 1) % names.length]);
    remembered(() => localStorage.setItem("theme", chosen));
  });
  show(remembered(() => localStorage.getItem("theme")));
})();

// Tables: a header's button sorts by its column. A cell sorts by its data-value, else by its text; blanks go last.
for (const table of document.querySelectorAll("table.sortable")) {
  const value = (row, index) => row.cells[index].dataset.value ?? row.cells[index].textContent.trim();
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  table.tHead.querySelectorAll("th").forEach((header) => header.querySelector("button")?.addEventListener("click", () => {
    const descending = header.getAttribute("aria-sort") !== "descending", index = header.cellIndex;
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const a = value(one, index), b = value(other, index);
      if (a === "" || b === "") return (a === "") - (b === "");
      return descending ? compare(b, a) : compare(a, b);
    });
    table.tHead.querySelectorAll("th[aria-sort]").forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    table.tBodies[0].append(...rows);
  }));
}

// Filters: a form names its table; a row is shown where every control agrees with what the row says of itself.
for (const form of document.querySelectorAll("form.filters")) {
  const table = document.getElementById(form.dataset.table), count = form.querySelector("output");
  const rows = [...table.tBodies[0].rows];
  rows.forEach((row) => { row.dataset.text ??= row.textContent.toLowerCase(); });
  const agrees = {
    search: (control, row) => control.value.toLowerCase().split(/\s+/).every((word) => row.dataset.text.includes(word)),
    least: (control, row) => Number(row.dataset[control.name]) >= Number(control.value || 0),
    equal: (control, row) => !control.value || (row.dataset[control.name] ?? "").split(" ").includes(control.value),
    set: (control, row) => !control.checked || Boolean(row.dataset[control.name]),
  };
  const apply = () => {
    const controls = [...form.querySelectorAll("[data-filter]")];
    let shown = 0;
    for (const row of rows) {
      row.hidden = !controls.every((control) => agrees[control.dataset.filter](control, row));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  apply();
}
