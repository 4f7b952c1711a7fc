// `if [ "$SEED" = 1 ]; then …` of the shell script: when a step runs, in front of its command.

import type { Environment } from "../runtime/environment.ts";
import type { Step } from "./settings.ts";
import { NotAllowed, parseSwitch, parseWords } from "./values.ts";

/** `when=once if=SEED python seed.py`; null where its condition does not hold. @param whens the first one is the default. */
export function parseStep<When extends string>(
  text: string,
  whens: readonly [When, ...When[]],
  env: Environment,
): Step<When> | null {
  let when: When = whens[0];
  let holds = true;
  let rest = text.trim();
  for (;;) {
    const [all, name, value = ""] = /^(when|if)=(\S*)\s*/.exec(rest) ?? [];
    if (all === undefined) break;
    rest = rest.slice(all.length);
    if (name === "if") holds &&= isOn(value, env);
    else {
      const found = whens.find((one) => one === value);
      if (found === undefined) throw new NotAllowed(`when=${whens.join(", when=")}`);
      when = found;
    }
  }
  // A variable that it lacks does not matter where it does not run.
  return holds ? { when, words: parseWords(rest, env), text: rest } : null;
}

/** `if=NAME COMMAND`: the command, and whether all its conditions hold. */
export function parseCondition(
  text: string,
  env: Environment,
): { readonly holds: boolean; readonly rest: string } {
  let holds = true;
  let rest = text.trim();
  for (;;) {
    const [all, condition = ""] = /^if=(\S*)\s*/.exec(rest) ?? [];
    if (all === undefined) return { holds, rest };
    rest = rest.slice(all.length);
    holds &&= isOn(condition, env);
  }
}

/** `NAME`, `!NAME`, `NAME=value`, `NAME!=value` */
function isOn(condition: string, env: Environment): boolean {
  const [, not = "", name = "", operator = "", value = ""] =
    /^(!?)([A-Za-z_]\w*)(?:(!?=)(.*))?$/.exec(condition) ?? [];
  if (name === "" || (not !== "" && operator !== "")) {
    throw new NotAllowed("if=NAME, if=!NAME, if=NAME=value, if=NAME!=value");
  }
  const given = env[name] ?? "";
  if (operator !== "") return (given === value) === (operator === "=");
  return isSwitchedOn(given) === (not === "");
}

/** Anything but what switches off, since a variable of the project's own has words of its own. */
function isSwitchedOn(given: string): boolean {
  if (given.trim() === "") return false;
  try {
    return parseSwitch(given);
  } catch (error) {
    if (error instanceof NotAllowed) return true;
    throw error;
  }
}
