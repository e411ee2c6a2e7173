"use strict";

// Figures stand as JSON in the page. Text and lines take the page's colours, and change with its theme; for print, too.
(() => {
  const colour = (name) => {
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const dress = (layout) => {
    const text = colour("text"), line = colour("line"), clear = "rgba(0,0,0,0)";
    const axes = Object.keys(layout).filter((key) => /^[xy]axis/.test(key));
    const axis = { gridcolor: line, linecolor: line, zeroline: false, automargin: true, fixedrange: true };
    return {
      ...layout,
      ...Object.fromEntries(axes.map((key) => [key, {
        showgrid: true, ...layout[key], ...axis,
        ...(layout[key].title && { title: { ...layout[key].title, standoff: 8, font: { size: 13 } } }),
      }])),
      paper_bgcolor: clear, plot_bgcolor: clear, margin: { l: 56, r: 16, t: 36, b: 84 },
      font: { color: text, family: "system-ui, sans-serif", size: 13 },
      annotations: (layout.annotations ?? []).map((each) => ({ ...each, font: { color: text, size: 14 } })),
      hoverlabel: { bgcolor: colour("surface"), bordercolor: line, font: { color: text } },
    };
  };
  const canvases = [...document.querySelectorAll("[data-plot]")];
  const draw = () => {
    for (const canvas of canvases) {
      const { data, layout } = JSON.parse(document.getElementById(`plot-${canvas.dataset.plot}`).textContent);
      Plotly.react(canvas, data, dress(layout), { displayModeBar: false, responsive: true });
    }
  };
  document.addEventListener("themechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", draw);
  addEventListener("afterprint", draw);
  draw();
})();
