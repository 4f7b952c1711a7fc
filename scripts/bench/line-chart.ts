// A chart as SVG, by hand: lines over time, with a logarithmic scale, readable on a light and on a dark page.

import { escape, round } from "./svg.ts";

interface Line {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly lines: readonly Line[];
  /** The scale's marks, each ten times the one before; what is below the first one is drawn on it. */
  readonly yMarks: readonly number[];
  readonly formatY: (y: number) => string;
}

const colours = ["#1a7f37", "#cf222e", "#0969da", "#9a6700", "#8250df"];
const [width, height] = [860, 420];
const [left, right, top, bottom] = [70, 20, 44, 92];

/** The chart as the text of an SVG file. */
export function drawLineChart(chart: Chart): string {
  const { lines, yMarks, title, xLabel, yLabel, formatY } = chart;
  const lowest = yMarks[0] ?? 1;
  const highest = yMarks.at(-1) ?? 10;
  const xMost = Math.max(...lines.flatMap(({ points }) => points.map(({ x }) => x)), 1);
  const xStep = xMost > 40 ? 10 : xMost > 15 ? 5 : xMost > 6 ? 2 : 1;
  const placeX = (x: number) => round(left + (x / xMost) * (width - left - right));
  const placeY = (y: number) => {
    const share = Math.log(Math.max(y, lowest) / lowest) / Math.log(highest / lowest);
    return round(height - bottom - share * (height - top - bottom));
  };
  const grid = yMarks.map(
    (y) =>
      `<line class="grid" x1="${left}" x2="${width - right}" y1="${placeY(y)}" y2="${placeY(y)}"/>` +
      `<text x="${left - 8}" y="${placeY(y) + 4}" text-anchor="end">${formatY(y)}</text>`,
  );
  const marks = Array.from({ length: Math.floor(xMost / xStep) + 1 }, (_, index) => index * xStep);
  const feet = marks.map(
    (x) => `<text x="${placeX(x)}" y="${height - bottom + 18}" text-anchor="middle">${x}</text>`,
  );
  const drawn = lines.map(({ points }, index) => {
    const path = points.map(({ x, y }) => `${placeX(x)},${placeY(y)}`).join(" ");
    return `<polyline points="${path}" stroke="${colours[index % colours.length]}"/>`;
  });
  const legend = lines.map(({ name }, index) => {
    const x = left + (index % 2) * 400;
    const y = height - 34 + Math.floor(index / 2) * 18;
    return (
      `<rect x="${x}" y="${y - 9}" width="14" height="4" fill="${colours[index % colours.length]}"/>` +
      `<text x="${x + 20}" y="${y - 3}">${escape(name)}</text>`
    );
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">`,
    "<style>text{font:13px sans-serif;fill:#57606a}.title{font-size:15px;font-weight:bold}.grid{stroke:#8c959f;stroke-opacity:.3}polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}@media(prefers-color-scheme:dark){text{fill:#c9d1d9}}</style>",
    `<text class="title" x="${left}" y="22">${escape(title)}</text>`,
    ...grid,
    ...feet,
    `<text x="${width - right}" y="${height - bottom + 34}" text-anchor="end">${escape(xLabel)}</text>`,
    `<text transform="translate(16 ${(height - bottom + top) / 2}) rotate(-90)" text-anchor="middle">${escape(yLabel)}</text>`,
    ...drawn,
    ...legend,
    "</svg>",
    "",
  ].join("\n");
}
