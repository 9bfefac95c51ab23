import * as core from '@actions/core';

/**
 * Writes lines to the step's log. What looks like a command to the runner (`::set-output`, `##[…]`) is made
 * harmless: file names and messages of servers come from strangers.
 */
export function info(message: string): void {
  core.info(message.replaceAll(/^(\s*)::/gm, '$1\u200b::').replaceAll('##[', '#\u200b#['));
}

/** Adds a warning annotation to the run's page. */
export function warning(message: string): void {
  core.warning(message);
}

/** Writes a line that shows only when the workflow runs with debug logging (`ACTIONS_STEP_DEBUG`). */
export function debug(message: string): void {
  core.debug(message);
}

/** Puts the lines that `work` writes into a collapsible group of the log. */
export async function group<T>(title: string, work: () => Promise<T>): Promise<T> {
  return core.group(title, work);
}

/**
 * Masks a secret in the whole job's log, in every spelling that a program may print it in: as it is, line by
 * line (the runner masks lines), percent-encoded, and quoted for a connection string or JSON.
 */
export function mask(secret: string): void {
  const quoted = secret.replaceAll('\\', '\\\\');
  const spellings = [
    secret,
    ...secret.split(/\r?\n/),
    encodeURIComponent(secret),
    quoted.replaceAll("'", "\\'"),
    quoted.replaceAll('"', '\\"'),
    quoted.replaceAll(':', '\\:'),
  ];
  // A mask of one or two characters would blank out the whole log.
  for (const spelling of new Set(spellings)) if (spelling.trim().length > 2) core.setSecret(spelling);
}
