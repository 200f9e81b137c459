// Heads of tables become buttons: numbers sort from the largest, texts from the first; a third press restores the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    const value = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const numeric = head.classList.contains("number");
    const states = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
    button.addEventListener("click", () => {
      const state = states[(states.indexOf(head.getAttribute("aria-sort") ?? "none") + 1) % 3];
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      const sign = state === "descending" ? -1 : 1;
      const order = (one, other) => {
        const [a, b] = [value(one), value(other)];
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
      };
      if (state !== "none") head.setAttribute("aria-sort", state);
      body.append(...(state === "none" ? rows : [...rows].sort(order)));
    });
  });
}

// A field above a table shows the rows that hold all its words; the last line adds up those.
for (const table of document.querySelectorAll("table.filtered")) {
  const rows = [...table.tBodies[0].rows], heads = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  const line = table.tFoot?.rows[0], all = line ? [...line.cells].map((cell) => cell.textContent) : [];
  const label = document.createElement("label"), field = document.createElement("input"), count = document.createElement("output");
  field.type = "search";
  label.className = "filter";
  label.append("Filter: ", field, " ", count);
  table.closest(".box").before(label);
  const sum = (shown, column) => shown.reduce((total, row) => total + Number(row.cells[column].dataset.v ?? 0), 0);
  const written = (value, head, like) => {
    const scale = head.endsWith("(us)") ? 1e6 : head.endsWith("(mJ)") ? 1e3 : like.endsWith("%") ? 100 : 1;
    const digits = (like.split(".")[1] ?? "").replace(/\D/g, "").length;
    const text = (value * scale).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return text + like.replace(/[-0-9.,]/g, "");
  };
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = rows.filter((row) => {
      const cells = [...row.cells].map((cell) => cell.textContent.toLowerCase());
      row.hidden = !words.every((word) => cells.some((text) => text.includes(word)));
      return !row.hidden;
    });
    count.textContent = words.length ? `${shown.length} of ${rows.length} rows` : "";
    if (!line) return;
    [...line.cells].forEach((cell, column) => {
      if (!words.length || (column && !("v" in cell.dataset))) cell.textContent = all[column];
      else if (!column) cell.textContent = "rows shown";
      else if (heads[column] === "gain") {
        const [before, now] = ["dense (us)", "time (us)"].map((head) => sum(shown, heads.indexOf(head)));
        cell.textContent = before && now ? written(before / now, "gain", all[column]) : "";
      } else cell.textContent = written(sum(shown, column), heads[column], all[column]);
    });
  });
}

// What is wider than its box says that it scrolls.
for (const box of document.querySelectorAll(".box")) {
  const sign = document.createElement("p");
  sign.className = "scrolls soft";
  sign.textContent = "scrolls sideways \u2192";
  sign.setAttribute("aria-hidden", "true");
  box.before(sign);
  const look = () => { sign.hidden = box.scrollWidth <= box.clientWidth + 1; };
  new ResizeObserver(look).observe(box);
  look();
}
