// How people read a line of the log: as one line of text, or on a terminal with colours, a list of problems and the stack. The
// line comes as the JSON that it is otherwise.

interface Line {
  readonly time: string;
  readonly level: string;
  readonly event: string;
  readonly msg: string;
  readonly problems?: readonly string[];
  readonly hint?: string;
  readonly err?: { readonly stack?: string };
  readonly [detail: string]: unknown;
}

/** `2026-11-23T11:27:52.066Z INFO starting: Starting application... (wait 31 ms, inspect 3 ms)` */
export function formatText(json: string): string {
  const line = JSON.parse(json) as Line;
  const { time, level, event, msg, hint, err } = line;
  const cure = hint === undefined ? "" : `; cure: ${hint}`;
  const stack = err?.stack === undefined ? "" : ` ${err.stack}`;
  const text = `${msg}${event === "starting" ? describeSteps(line) : ""}${cure}${stack}`;
  const oneLine = text.trim().replaceAll(/\s*[\r\n]\s*/g, " ");
  return `${time} ${level.toUpperCase()} ${event}: ${escapeControls(oneLine)}\n`;
}

/** ` (wait 31 ms, inspect 3 ms)`, of `waitMs` and `inspectMs`; empty where no step has a duration. */
function describeSteps(line: Line): string {
  const steps = Object.entries(line).flatMap(([name, value]) =>
    typeof value === "number" && name.endsWith("Ms") ? [`${name.slice(0, -2)} ${value} ms`] : [],
  );
  return steps.length === 0 ? "" : ` (${steps.join(", ")})`;
}

/** By level: those of a traffic light, and grey. */
const colourOf: Readonly<Record<string, number>> = { info: 32, warn: 33, error: 31, fatal: 41 };
const grey = 90;
const cyan = 36;

/** `[11:27:52] INFO: Starting application...`, one line for each of several problems, the cure, and the stack. */
export function formatPretty(json: string, colours: boolean): string {
  const { time, level, msg, problems, hint, err } = JSON.parse(json) as Line;
  const paint = (text: string, colour: number) =>
    colours ? `\u001B[${colour}m${text}\u001B[${colour === 41 ? 49 : 39}m` : text;
  const lines =
    problems === undefined
      ? [msg]
      : [msg.slice(0, msg.indexOf(": ") + 1), ...problems.map((one) => `  ${one}`)];
  if (hint !== undefined) lines.push(`  cure: ${hint}`);
  if (err?.stack !== undefined) lines.push(err.stack);
  const label = paint(level.toUpperCase(), colourOf[level] ?? grey);
  const text = escapeControls(lines.join("\n"));
  return `[${toLocalTime(time)}] ${label}: ${paint(text, cyan)}\n`;
}

function toLocalTime(iso: string): string {
  const date = new Date(iso);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

/** What others have written, such as a server's words, moves no cursor. */
function escapeControls(text: string): string {
  return text.replaceAll(
    // oxlint-disable-next-line no-control-regex
    /[\u0000-\u0008\u000B-\u001F\u007F]/g,
    (control) => String.raw`\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
