"use strict";
// What is under the pointer, or under the cursor that the arrow keys move, is told beside the names.
for (const chart of document.querySelectorAll(".chart")) {
  const told = JSON.parse(chart.querySelector("script").textContent);
  const svg = chart.querySelector("svg"), cursor = svg.querySelector(".cursor");
  const at = chart.querySelector(".at"), outputs = chart.querySelectorAll("label output");
  const width = svg.querySelector("svg").viewBox.baseVal.width, last = told.x.length - 1;
  let shown = -1;

  const show = index => {
    shown = index;
    const there = index >= 0;
    cursor.classList.toggle("on", there);
    at.textContent = there ? told.at[index] : "";
    outputs.forEach((output, line) => { output.textContent = there ? told.values[line][index] : ""; });
    if (there) for (const end of ["x1", "x2"]) cursor.setAttribute(end, told.x[index] / width * 100 + "%");
  };
  const nearest = x => {
    let low = 0, high = last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (told.x[middle] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - told.x[low - 1] < told.x[low] - x ? low - 1 : low;
  };

  const point = event => {
    const box = svg.getBoundingClientRect();
    show(nearest((event.clientX - box.left) / box.width * width));
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", event => {
    const to = { ArrowLeft: Math.max(shown - 1, 0), ArrowRight: Math.min(shown + 1, last), Home: 0, End: last, Escape: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
