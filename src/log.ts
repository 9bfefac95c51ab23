import * as core from '@actions/core';
import {noteWarning, timePhase} from './journal.js';

/** When the last line was written: `performance.now()`. */
let lastLineAt = 0;

/** A log that stands still for so long looks like a step that hangs. */
const quietMilliseconds = 15_000;

/**
 * Writes lines to the step's log. What looks like a command to the runner (`::set-output`, `##[…]`) is made
 * harmless: file names and messages of servers come from strangers.
 */
export function info(message: string): void {
  lastLineAt = performance.now();
  core.info(message.replaceAll(/^(\s*)::/gm, '$1\u200b::').replaceAll('##[', '#\u200b#['));
}

/** Adds a warning annotation to the run's page; the same one again is a line of the log alone. */
export function warning(message: string): void {
  if (noteWarning(message)) core.warning(message);
  else info(`Warning, once more: ${message}`);
}

/** Writes a line that shows only when the workflow runs with debug logging (`ACTIONS_STEP_DEBUG`). */
export function debug(message: string): void {
  core.debug(message);
}

/** Puts the lines that `work` writes into a collapsible group of the log. */
export async function group<T>(title: string, work: () => Promise<T>): Promise<T> {
  return core.group(title, work);
}

/** Takes the time of a part of the step's work, for a line of the log and for the report. */
export async function phase<T>(name: string, work: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const value = await watched(name, work);
  const seconds = (performance.now() - begin) / 1000;
  if (seconds >= 0.1) info(`${name} took ${seconds.toFixed(1)} s`);
  return value;
}

/** Takes the time of work for the report, and says in the log that it goes on where nothing else does. */
export async function watched<T>(name: string, work: () => Promise<T>): Promise<T> {
  const begin = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    if (now - lastLineAt >= quietMilliseconds)
      info(`${name} goes on: ${((now - begin) / 1000).toFixed(0)} s`);
  }, quietMilliseconds / 3);
  try {
    return await timePhase(name, work);
  } finally {
    clearInterval(timer);
  }
}

/** A phase whose lines are a group of the log. */
export async function groupedPhase<T>(name: string, work: () => Promise<T>): Promise<T> {
  return phase(name, () => group(name, work));
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
