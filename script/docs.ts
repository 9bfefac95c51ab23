import {readFileSync, writeFileSync} from 'node:fs';
import {isMap, isScalar, parseDocument, type YAMLMap} from 'yaml';

/** One input or output of action.yml. */
export interface Entry {
  readonly name: string;
  /** Without the sentence that tells the default. */
  readonly description: string;
  /** As it reads in a table; empty where there is none. */
  readonly defaultText: string;
  /** What the runner fills in, for the inputs that have a `default:` of their own. */
  readonly runnerDefault?: string;
}

/** The entries under one `# --- Title` comment of action.yml. */
export interface Group {
  readonly title: string;
  readonly entries: readonly Entry[];
}

/** What action.yml declares, in its order. */
export interface Contract {
  readonly inputs: readonly Group[];
  readonly outputs: readonly Group[];
}

/** Reads action.yml. Throws when an entry is in no group or has no description. */
export function parseContract(actionYaml: string): Contract {
  const document = parseDocument(actionYaml);
  if (document.errors.length > 0) throw new Error(`action.yml: ${document.errors.join('\n')}`);
  const section = (name: string): YAMLMap => {
    const value = document.get(name);
    if (!isMap(value)) throw new Error(`action.yml has no ${name}.`);
    return value;
  };
  return {inputs: groupsOf(section('inputs')), outputs: groupsOf(section('outputs'))};
}

/** README with its generated tables brought up to date. */
export function withTables(readme: string, {inputs, outputs}: Contract): string {
  const texts: Record<string, string> = {
    inputs: inputs.map(inputTable).join('\n'),
    outputs: outputs.map(outputTable).join('\n'),
  };
  let updated = readme;
  for (const [name, text] of Object.entries(texts)) {
    const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`];
    const [before, rest, ...more] = updated.split(begin);
    const [old, after] = rest?.split(end) ?? [];
    if (before === undefined || old === undefined || after === undefined || more.length > 0) {
      throw new Error(`README.md must hold ${begin} and ${end} once each, in this order.`);
    }
    updated = `${before}${begin}\n\n${text}\n${end}${after}`;
  }
  return updated;
}

function groupsOf(section: YAMLMap): readonly Group[] {
  const groups: {title: string; entries: Entry[]}[] = [];
  section.items.forEach((pair, index) => {
    if (!isScalar(pair.key)) throw new Error('action.yml: a key is not a plain name.');
    // The parser hands the comment ahead of a section's first key to the section itself.
    const comment = index === 0 ? section.commentBefore : pair.key.commentBefore;
    const title = /^ --- (.+)$/m.exec(comment ?? '')?.[1];
    if (title !== undefined) groups.push({title, entries: []});
    const group = groups.at(-1);
    if (group === undefined) throw new Error(`action.yml: ${pair.key.value} is in no group.`);
    group.entries.push(entryOf(String(pair.key.value), pair.value));
  });
  return groups;
}

function entryOf(name: string, value: unknown): Entry {
  const text = isMap(value) ? value.get('description') : undefined;
  if (!isMap(value) || typeof text !== 'string') throw new Error(`action.yml: ${name} has no description.`);
  const runnerDefault = value.get('default');
  const parts = /^(.*?)(?:\s*Default: (.+)\.)?$/s.exec(text.trim());
  const [description = '', told = ''] = parts?.slice(1) ?? [];
  if (typeof runnerDefault !== 'string') return {name, description, defaultText: told};
  if (told !== '') throw new Error(`action.yml: ${name} tells its default twice.`);
  return {name, description, defaultText: `\`${runnerDefault}\``, runnerDefault};
}

function inputTable({title, entries}: Group): string {
  const rows = entries.map((entry) => row([`\`${entry.name}\``, entry.defaultText, entry.description]));
  return [
    `#### ${title}`,
    '',
    row(['input', 'default', 'meaning']),
    row(['---', '---', '---']),
    ...rows,
    '',
  ].join('\n');
}

function outputTable({title, entries}: Group): string {
  const rows = entries.map((entry) => row([`\`${entry.name}\``, entry.description]));
  return [`#### ${title}`, '', row(['output', 'meaning']), row(['---', '---']), ...rows, ''].join('\n');
}

/** A `|` ends a cell even inside backticks. */
function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s+/g, ' ').trim()).join(' | ')} |`;
}

if (import.meta.main) {
  const root = new URL('../', import.meta.url);
  const readme = new URL('README.md', root);
  const contract = parseContract(readFileSync(new URL('action.yml', root), 'utf8'));
  writeFileSync(readme, withTables(readFileSync(readme, 'utf8'), contract));
  // Loaded here alone: whoever only reads the contract does not need all of src.
  const {withCures} = await import('./cures.ts');
  const troubleshooting = new URL('docs/troubleshooting.md', root);
  writeFileSync(troubleshooting, withCures(readFileSync(troubleshooting, 'utf8')));
}
