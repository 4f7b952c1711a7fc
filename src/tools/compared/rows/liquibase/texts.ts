// What Liquibase does not say of its change sets, and the files of the change log do. Comments count too: that is only stricter.

/** A change set that may be left without a row although the command succeeds. */
const leavesNoRow =
  /\bon(?:Fail|Error)["']?\s*[:=]\s*["']?(?:CONTINUE|\$\{)|\bfailOnError["']?\s*[:=]\s*["']?(?:false|\$\{)/i;

/** What another database, such as none, gives another value, and the text another checksum. */
const ofDatabase = /\$\{\s*database\.[^{}]*\}/i;

/** Of the change log itself, in XML, YAML or JSON, and not of a change set. */
const ofChangeLog = /<(?:[\w.-]+:)?preConditions\b|(?:^\s*-|[[{])\s*["']?preConditions\b/im;

const changeSet = /<((?:[\w.-]+:)?changeSet)\b[^]*?<\/\1>/gi;

/** A file or folder that may be added later. */
const mayBeMissing = /\berrorIfMissing(?:OrEmpty)?["']?\s*[:=]\s*["']?(?:false|\$\{)/i;

/** Why the rows may not say what is pending; null where they do. */
export function findDoubt(path: string, text: string): string | null {
  const left = leavesNoRow.exec(text)?.[0];
  if (left !== undefined) {
    return `a change set of ${path} may be left out and keep no row (${left.replaceAll(/["'\s]/g, "")})`;
  }
  const value = ofDatabase.exec(text)?.[0];
  return value === undefined
    ? null
    : `the checksums of ${path} depend on the database that Liquibase is connected to (${value})`;
}

/** Why Liquibase has to look at every update. */
export function findAlways(path: string, text: string): string | null {
  if (ofChangeLog.test(text.replaceAll(changeSet, ""))) {
    return `${path} has preconditions of the whole change log, which Liquibase tests at every update`;
  }
  const missing = mayBeMissing.exec(text)?.[0];
  return missing === undefined
    ? null
    : `${path} includes what may be added later (${missing.replaceAll(/["'\s]/g, "")})`;
}

/** The variables that `${…}` takes before all else, in any case. */
export function findVariables(text: string): readonly string[] {
  return [...text.matchAll(/\$\{([^{}:]+)\}/g)].flatMap(([, name = ""]) => [
    name,
    name.toUpperCase(),
    name.toLowerCase(),
  ]);
}

/** The checksums that a `validCheckSum` names, of whichever change set. */
export function findValidChecksums(text: string): readonly string[] {
  return [...text.matchAll(/validCheckSums?\b[^]{0,40}?(\d+:[0-9a-f]{32})\b/gi)].map(
    ([, sum = ""]) => sum,
  );
}
