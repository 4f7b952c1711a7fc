// Where libpq looks for files of the user's own.

import { userInfo, type UserInfo } from "node:os";

/** The account that we run as; null for a number without a name, as a container's may be. */
export function findAccount(): UserInfo<string> | null {
  try {
    return userInfo();
  } catch {
    return null;
  }
}

/** @param home the environment's HOME. */
export function homeDirectory(home: string | undefined): string | undefined {
  return home || findAccount()?.homedir;
}
