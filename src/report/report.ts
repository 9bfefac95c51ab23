import {mkdir, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {setOutput, summary} from '@actions/core';
import type {CatalogEntry} from '../backup-set/catalog.js';
import {type ReportFiles, reportNames} from '../backup-set/report-file.js';
import {describe} from '../errors.js';
import {readJournal} from '../journal.js';
import {debug, info, warning} from '../log.js';
import {untilAborted} from '../store/parallel.js';
import type {Store} from '../store/store.js';
import type {Content} from './content.js';
import {failureContent} from './failure-content.js';
import {htmlOf} from './html.js';
import {jsonOf} from './json.js';
import {lastLine} from './last-line.js';
import {markdownOf} from './markdown.js';
import {type Outputs, outputsOf} from './outputs.js';
import {contentOf} from './step-content.js';
import type {Result, Story} from './story.js';

/** What reporting works with. */
export interface Reporting {
  /** Where the backup is kept; undefined in a mode without one. */
  readonly store?: Store;
  /** Where the report's files are written; undefined: none were asked for. */
  readonly reportDirectory?: string | undefined;
}

/** Tells what a step did: outputs, the job summary, files where they were asked for, and a last line in the log. */
export async function report(result: Result, {store, reportDirectory}: Reporting = {}): Promise<void> {
  setOutputs(outputsOf(result));
  try {
    const story = {journal: readJournal(), history: await historyOf(result, store)};
    const content = contentOf(result, story);
    if (reportDirectory !== undefined)
      setOutputs(await writeReport(result, {content, story, store, directory: reportDirectory}));
    await writeSummary(content);
  } catch (error) {
    // The work is done, whatever becomes of its report.
    warning(`The summary could not be written: ${describe(error)}`);
  }
  info(lastLine(result));
}

function setOutputs(outputs: Outputs): void {
  for (const [name, value] of Object.entries(outputs)) setOutput(name, value);
}

/** Tells why a step failed, in the job summary. */
export async function reportFailure(thrown: unknown, mode: string): Promise<void> {
  await writeSummary(failureContent(thrown, mode, readJournal()));
}

async function writeSummary(content: Content): Promise<void> {
  if (process.env.GITHUB_STEP_SUMMARY) await summary.addRaw(markdownOf(content), true).write();
}

/** Backups that were listed anyway, or can be listed for nothing. Without them there is no trend, and no harm. */
async function historyOf(result: Result, store: Store | undefined): Promise<readonly CatalogEntry[]> {
  if (result.dryRun) return [];
  if (result.mode === 'backup' && result.pruned) {
    const {kept, removed} = result.pruned;
    return [...kept.map(({entry}) => entry), ...removed];
  }
  try {
    return (await store?.history?.()) ?? [];
  } catch (error) {
    debug(`No trend: ${describe(error)}`);
    return [];
  }
}

interface Writing {
  readonly content: Content;
  readonly story: Story;
  readonly store: Store | undefined;
  readonly directory: string;
}

/** The work is done, whatever becomes of its report: what goes wrong is a warning. */
async function writeReport(result: Result, {content, story, store, directory}: Writing): Promise<Outputs> {
  if (result.mode === 'prepare' || result.dryRun) return {};
  const name = result.mode === 'backup' ? result.metadata.name : result.backup.name;
  const names = reportNames(name, result.mode);
  const files = {[names.html]: htmlOf(content), [names.json]: jsonOf(result, story)};
  try {
    await mkdir(directory, {recursive: true});
    const paths: string[] = [];
    for (const [file, text] of Object.entries(files)) {
      paths.push(join(directory, file));
      await writeFile(join(directory, file), text, {mode: 0o600});
    }
    const [html = '', json = ''] = paths;
    return {'report-html': html, 'report-json': json};
  } catch (error) {
    warning(`The report could not be written: ${describe(error)}`);
    return {};
  } finally {
    await storeReport(files, store);
  }
}

/** A store that hangs must not hold up a step whose work is done. */
const patienceMilliseconds = 60_000;

async function storeReport(files: ReportFiles, store: Store | undefined): Promise<void> {
  try {
    const saved = store?.saveReport(files);
    if (saved) await untilAborted(AbortSignal.timeout(patienceMilliseconds), () => saved);
    info(`The report is stored: ${Object.keys(files).join(', ')}`);
  } catch (error) {
    warning(`The report could not be stored: ${describe(error)}`);
  }
}
