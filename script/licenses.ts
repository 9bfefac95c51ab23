/** A package, and the SPDX expression of its license. */
export interface Licensed {
  readonly name: string;
  readonly license: string;
}

/**
 * One text of several that ncc has written, each package in it once. In each a package begins with two lines, its name
 * and its license; a text can have such lines by chance, so that only packages that are known count. Throws an Error
 * where a text does not begin with one.
 */
export function mergeLicenses(texts: readonly string[], known: readonly Licensed[]): string {
  const heads = new Set(known.map(({name, license}) => `${name}\n${license}`));
  const blocks = new Set<string>();
  for (const text of texts) {
    const lines = text.trimEnd().split('\n');
    const starts = lines.flatMap((line, index) => (heads.has(`${line}\n${lines[index + 1]}`) ? [index] : []));
    if (starts[0] !== 0) throw new Error(`This begins with no package that is known: ${lines[0]}`);
    for (const [at, start] of starts.entries())
      blocks.add(
        lines
          .slice(start, starts[at + 1])
          .join('\n')
          .trimEnd(),
      );
  }
  return `${[...blocks].sort().join('\n\n')}\n`;
}
