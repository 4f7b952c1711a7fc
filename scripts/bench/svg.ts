// What the charts have in common, whatever they draw.

/** A place in the picture, to a tenth of its unit. */
export function round(place: number): number {
  return Math.round(place * 10) / 10;
}

/** Text for an element or an attribute. */
export function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
