/** An input that was given, and the one that was probably meant. */
export interface Misspelt {
  readonly given: string;
  readonly meant: string;
}

/**
 * Inputs in the environment (GitHub passes `with:` as `INPUT_<NAME>`, in capitals) whose names are not known, but nearly
 * are: an underscore for a hyphen, or one or two letters. What is further from any name is somebody else's: an action
 * or a container around this one has variables of that kind too. Empty ones are not looked at.
 */
export function misspeltInputs(
  environment: Readonly<Record<string, string | undefined>>,
  known: readonly string[],
): readonly Misspelt[] {
  return Object.entries(environment)
    .filter(([variable, value]) => variable.startsWith('INPUT_') && value)
    .map(([variable]) => variable.slice('INPUT_'.length).toLowerCase())
    .filter((given) => !known.includes(given))
    .flatMap((given) => {
      const meant = nearest(given, known);
      return meant === undefined ? [] : [{given, meant}];
    });
}

function nearest(given: string, known: readonly string[]): string | undefined {
  const spelt = given.replaceAll(/[_ ]/g, '-');
  // Short words of another meaning are too near: `node` to `mode`, `path` to `port`.
  const allowed = spelt.length < 6 ? 0 : spelt.length < 10 ? 1 : 2;
  const [best] = known
    .map((name) => ({name, distance: distanceOf(spelt, name)}))
    .filter(({distance}) => distance <= allowed)
    .sort((a, b) => a.distance - b.distance);
  return best?.name;
}

/** Letters to insert, delete, replace, or swap with their neighbour (Damerau's distance, each place changed once). */
function distanceOf(from: string, to: string): number {
  let [before, last]: [readonly number[], readonly number[]] = [
    [],
    Array.from({length: to.length + 1}, (_, column) => column),
  ];
  for (let row = 1; row <= from.length; row += 1) {
    const next = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      next.push(
        Math.min(
          (last[column] ?? 0) + 1,
          (next[column - 1] ?? 0) + 1,
          (last[column - 1] ?? 0) + (isSame ? 0 : 1),
          isSwapped ? (before[column - 2] ?? Number.POSITIVE_INFINITY) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    [before, last] = [last, next];
  }
  return last[to.length] ?? 0;
}
