// What Liquibase does not say of its change sets, and the files of the change log do. Comments count too: that is only stricter.

/** A change set that may be left without a row although the command succeeds. */
const leavesNoRow =
  /\bon(?:Fail|Error)["']?\s*[:=]\s*["']?(?:CONTINUE|\$\{)|\bfailOnError["']?\s*[:=]\s*["']?(?:false|\$\{)/i;

/** Of the change log itself, in XML, YAML or JSON, and not of a change set. */
const ofChangeLog = /<preConditions\b|^\s*-\s+["']?preConditions\b|\{\s*"preConditions"/im;

const changeSet = /<changeSet\b[^]*?<\/changeSet>/gi;

/** Why a success may leave something pending; null where it may not. */
export function findDoubt(path: string, text: string): string | null {
  const found = leavesNoRow.exec(text)?.[0];
  return found === undefined
    ? null
    : `a change set of ${path} may be left out and keep no row (${found.replaceAll(/["'\s]/g, "")})`;
}

/** Why Liquibase does something at every update. */
export function findAlways(path: string, text: string): string | null {
  return ofChangeLog.test(text.replaceAll(changeSet, ""))
    ? `${path} has preconditions of the whole change log, which Liquibase tests at every update`
    : null;
}

/** The variables that `${…}` takes before all else, in any case. */
export function findVariables(text: string): readonly string[] {
  return [...text.matchAll(/\$\{([^{}:]+)\}/g)].flatMap(([, name = ""]) => [
    name,
    name.toUpperCase(),
    name.toLowerCase(),
  ]);
}
