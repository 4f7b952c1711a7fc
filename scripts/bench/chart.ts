// The charts that README.md shows, as SVG by hand: bars for contenders, lines for growth. Each brings its own ground, light or
// dark as the reader's system is, so that it can be read on any page.

import type { Summary } from "./measure.ts";
import { escape, round } from "./svg.ts";

const width = 760;
const lineHeight = 20;
const top = 44;

const style = `<style>
  .ground { fill: #ffffff } text { fill: #1f2328; font: 13px system-ui, sans-serif } .title { font-weight: 600 }
  .grid { stroke: #d1d9e0 } .whisker { stroke: #1f2328 } .minor { fill: #59636e }
  .s0 { color: #0969da } .s1 { color: #bc4c00 } .s2 { color: #8250df }
  .bar, .dot { fill: currentColor } .line { fill: none; stroke: currentColor; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #f0f6fc } .grid { stroke: #3d444d } .whisker { stroke: #f0f6fc }
    .minor { fill: #9198a1 } .s0 { color: #4493f8 } .s1 { color: #db6d28 } .s2 { color: #ab7df8 }
  }
</style>`;

export interface Bar {
  readonly name: string;
  readonly value: Summary;
  /** Drawn in the first colour; all others are in the second. */
  readonly own: boolean;
}

/** A bar for each contender, as long as its median, with a line from p10 to p90. */
export function drawBars({
  title,
  unit,
  bars,
}: {
  title: string;
  unit: string;
  bars: readonly Bar[];
}): string {
  const left = 210;
  const right = 90;
  const longest = Math.max(...bars.map(({ value }) => value.p90));
  const scale = (value: number): number => (value / longest) * (width - left - right);
  const rows = bars.map(({ name, value, own }, index) => {
    const y = top + index * (lineHeight + 10);
    const middle = y + lineHeight / 2;
    return `<g class="${own ? "s0" : "s1"}">
  <text x="${left - 10}" y="${middle + 4}" text-anchor="end">${escape(name)}</text>
  <rect class="bar" x="${left}" y="${y}" width="${round(scale(value.median))}" height="${lineHeight}" rx="2"/>
  <path class="whisker" d="M${round(left + scale(value.p10))} ${middle}H${round(left + scale(value.p90))}"/>
  <text x="${round(left + scale(value.p90) + 8)}" y="${middle + 4}">${format(value.median)} ${escape(unit)}</text>
</g>`;
  });
  return frame(title, top + bars.length * (lineHeight + 10) + 10, rows);
}

/** A line for each contender, both axes logarithmic: straight and at 45° is "in proportion". */
export function drawLines({
  title,
  x,
  y,
  lines,
}: {
  title: string;
  x: string;
  y: string;
  lines: Readonly<Record<string, readonly (readonly [number, number])[]>>;
}): string {
  const [left, right, bottom, height] = [70, 30, 60, 380];
  const points = Object.values(lines).flat();
  const xs = tens(points.map(([value]) => value));
  const ys = tens(points.map(([, value]) => value));
  const toX = place(xs, left, width - right);
  const toY = place(ys, height - bottom, top + 26);
  const grid = [
    ...ys.map(
      (value) => `<path class="grid" d="M${left} ${round(toY(value))}H${width - right}"/>
<text class="minor" x="${left - 8}" y="${round(toY(value)) + 4}" text-anchor="end">${format(value)}</text>`,
    ),
    ...xs.map(
      (value) => `<path class="grid" d="M${round(toX(value))} ${top + 26}V${height - bottom}"/>
<text class="minor" x="${round(toX(value))}" y="${height - bottom + 20}" text-anchor="middle">${format(value)}</text>`,
    ),
    `<text x="${(left + width - right) / 2}" y="${height - 14}" text-anchor="middle">${escape(x)}</text>`,
    `<text x="16" y="${top + 8}">${escape(y)}</text>`,
  ];
  const drawn = Object.entries(lines).map(([name, values], index) => {
    const places = values.map(([at, value]) => [round(toX(at)), round(toY(value))] as const);
    const dots = places.map(
      ([cx, cy], at) => `<circle class="dot" cx="${cx}" cy="${cy}" r="4"/>
  <text x="${cx}" y="${cy - 9}" text-anchor="middle">${format(values[at]?.[1] ?? 0)}</text>`,
    );
    const legend = left + 130 + index * 230;
    return `<g class="s${index % 3}">
  <path class="line" d="M${places.map((at) => at.join(" ")).join("L")}"/>
  ${dots.join("\n  ")}
  <circle class="dot" cx="${legend}" cy="${top + 4}" r="4"/><text x="${legend + 10}" y="${top + 8}">${escape(name)}</text>
</g>`;
  });
  return frame(title, height, [...grid, ...drawn]);
}

function frame(title: string, height: number, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">
<title>${escape(title)}</title>
${style}
<rect class="ground" width="${width}" height="${height}" rx="6"/>
<text class="title" x="16" y="26">${escape(title)}</text>
${parts.join("\n")}
</svg>
`;
}

/** The powers of ten from the one below the least to the one above the greatest, and at least two. */
function tens(values: readonly number[]): number[] {
  const exponents = values.map(Math.log10);
  const first = Math.floor(Math.min(...exponents));
  const last = Math.max(Math.ceil(Math.max(...exponents)), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
}

/** Where a value is on an axis from the first of these marks, at `from`, to the last one, at `to`. */
function place(marks: readonly number[], from: number, to: number): (value: number) => number {
  const [low, high] = [Math.log10(marks.at(0) ?? 1), Math.log10(marks.at(-1) ?? 10)];
  return (value) => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
}

function format(value: number): string {
  return value.toLocaleString("en", { maximumSignificantDigits: value < 1_000 ? 3 : 4 });
}
