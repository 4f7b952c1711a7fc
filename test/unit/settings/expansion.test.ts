// The variables in a command: as a real shell expands them, which is run beside this.

import { spawnSync } from "node:child_process";

import { expect, test } from "vitest";

import { mask } from "../../../src/log/mask.ts";
import { expandArgument } from "../../../src/settings/expansion.ts";
import { parseWords } from "../../../src/settings/values.ts";

const env = {
  PORT: "8000",
  EMPTY: "",
  SPACED: " a  b ",
  QUOTE: `it's "x" $PORT \${PORT} \\ ; |`,
  OPTIONS: "--workers 2",
};

test.each([
  "run --port ${PORT}",
  "run --port ${PORT:-9000} ${NONE:-9000}",
  "run --bind=0.0.0.0:${PORT}",
  'run "${PORT}" "a ${PORT} b"',
  "run ${EMPTY:-} x",
  'run "${EMPTY:-}" x',
  "run ${EMPTY:-fallback}",
  "run ${NONE:-two words}",
  'run "${NONE:-two words}"',
  "run ${OPTIONS} x${OPTIONS}y",
  "run ${SPACED} a${SPACED}b",
  'run "${SPACED}"',
  "run '${PORT}'",
  String.raw`run \${PORT} x\${PORT}`,
  'run "${QUOTE}"',
  "run ${NONE:-}${NONE:-}",
  'run ""${NONE:-x}',
  "${OPTIONS:-run} more",
  "run ${PORT:+--port ${PORT}} ${NONE:+--none} ${EMPTY:+--empty}",
  'run "${PORT:+--port ${PORT}}" "${NONE:+--none}"',
  "run --bind=${HOST:-0.0.0.0}:${NONE:-${PORT:-80}}",
  "run ${NONE:-${EMPTY:-${PORT:+in ${PORT}}}}",
  "run ${PORT:?it is needed} x",
])("%s is what a shell makes of it", (command) => {
  const script = `for word in ${command}; do printf '%s\\0' "$word"; done`;
  const { stdout } = spawnSync("/bin/sh", ["-c", script], { env, encoding: "utf8" });
  expect(parseWords(command, env)).toEqual(stdout.split("\0").slice(0, -1));
});

test("a value is no syntax, and a pattern matches no file", () => {
  const values = { A: "x; rm -rf / && `y` $(z) *", B: "'", C: "\u{e000}0\u{e001}" };
  expect(parseWords('run "${A}" ${B} ${C}', values)).toEqual(["run", values.A, "'", values.C]);
});

test("what a shell is given in double quotes is the shell's to expand", () => {
  expect(parseWords('sh -c "echo ${PORT}"', env)).toEqual(["sh", "-c", "echo ${PORT}"]);
  expect(parseWords('sh -c "echo $PORT" ${PORT}', env)).toEqual(["sh", "-c", "echo $PORT", "8000"]);
});

test.each([
  ["run ${NONE}", "NONE is not set or empty: write ${NONE:-}"],
  ["run ${EMPTY}", "EMPTY is not set or empty"],
  ["run ${NONE:?ask the operator}", "NONE is not set or empty: ask the operator"],
  ["run ${PORT:+--port $PORT}", "no $PORT in ${PORT:+--port $PORT}, since no shell runs it"],
  ["run ${PORT:+--port '${PORT}'}", "no ' in"],
  ['run "${NONE:-$(date)}"', "no $( in"],
  ["run $PORT", "no $PORT, since no shell runs it"],
  ["run ${PORT%0}", "no $PORT, since no shell runs it"],
  ["run ${PORT} && x", "no &&"],
  ["${EMPTY:-}", "a command"],
])("%s is refused", (command, reason) => {
  expect(() => parseWords(command, env)).toThrow(reason);
});

test("without an environment nothing is expanded", () => {
  expect(() => parseWords("run ${PORT}")).toThrow("no $PORT");
});

test.each([
  ["${PORT:-1}", ["8000"]],
  ["--bind=:${NONE:-1}", ["--bind=:1"]],
  ["${OPTIONS}", ["--workers 2"]],
  ["${NONE:-}", []],
  ["${PORT:+--port=${PORT}}", ["--port=8000"]],
  ["${NONE:+--port}", []],
  ["", [""]],
  ["a${NONE:-}", ["a"]],
  ["$PORT ${PORT%0} ${", ["$PORT ${PORT%0} ${"]],
])("an argument %j becomes %j", (word, expected) => {
  expect(expandArgument(word, env)).toEqual(expected);
});

test("a value that is called a secret is masked, and so is the password of a URL", () => {
  const secrets = {
    API_TOKEN: "tok-abcdef",
    db_password: "pw-abcdef",
    KEYSPACE: "visible-1",
    PWD: "/visible-2",
    BROKER: "amqp://u:broker-pw@mq",
  };
  const all = Object.keys(secrets).map((name) => `\${${name}}`);
  const text = parseWords(`run ${all.join(" ")} \${NEW_TOKEN:-visible-3}`, secrets).join(" ");
  expect(mask(text)).toBe("run *** *** visible-1 /visible-2 amqp://u:***@mq visible-3");
  expect(mask("broker-pw")).toBe("***");
});
