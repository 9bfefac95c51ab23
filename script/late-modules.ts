/** What ncc writes for a bundle, in two files. */
export interface SplitBundle {
  /** Of ECMAScript. */
  readonly bundle: string;
  /** CommonJS, because it is loaded in the middle of whatever needs it first. */
  readonly late: string;
}

const moduleHead = /^\/\*{3}\/ (\d+):$/m;
const required = /__(?:nccwpck|webpack)_require__\((\d+)\)/g;

/**
 * Takes packages that files need at their top and few steps use out of a bundle that ncc 0.45 (webpack 5) made, with all
 * that nothing else in it needs: `late.cjs`. They are run when something of them is used for the first time. Packages are
 * told by what only their main module has in it. Throws an Error when the bundle is made otherwise than it was.
 */
export function splitLate(bundle: string, packages: Readonly<Record<string, string>>): SplitBundle {
  const [head = '', ...parts] = bundle.split(moduleHead);
  const modules = new Map<string, string>();
  for (let at = 0; at < parts.length; at += 2) modules.set(parts[at] ?? '', parts[at + 1] ?? '');
  const entry = /^\/\*{6}\/ var __webpack_exports__ = __nccwpck_require__\((\d+)\);$/m.exec(bundle)?.[1];
  if (entry === undefined || !modules.has(entry))
    throw new Error('The bundle does not tell where it begins.');

  const mains = Object.entries(packages).map(([name, sign]) => mainOf(name, sign, modules));
  const needed = reachable(entry, modules, new Set(mains));
  // The end of the bundle is behind the last one, and what asks for import.meta is none of CommonJS.
  const last = [...modules.keys()].at(-1);
  const isLate = (id: string, text: string) => !needed.has(id) && id !== last && !/import\.meta/.test(text);
  const late = [...modules].filter(([id, text]) => isLate(id, text));
  const ids = new Set(late.map(([id]) => id));
  const kept = [...modules].map(([id, text]) =>
    ids.has(id) ? `/***/ ${id}:\n/***/ lateModule(${id}),\n\n` : `/***/ ${id}:${usedLate(text, mains)}`,
  );
  return {
    bundle: `${head}${kept.join('')}\n${loader}`,
    late: `'use strict';\nmodule.exports = {\n${late.map(([id, text]) => `${id}:${text}`).join('')}};\n`,
  };
}

function mainOf(name: string, sign: string, modules: ReadonlyMap<string, string>): string {
  const [id, ...others] = [...modules].filter(([, text]) => text.includes(sign)).map(([found]) => found);
  if (id !== undefined && others.length === 0) return id;
  throw new Error(
    `${name} is told by "${sign}", and that is in ${others.length + Number(id !== undefined)} modules.`,
  );
}

/** All that a module needs at last, but for what is loaded late. */
function reachable(
  entry: string,
  modules: ReadonlyMap<string, string>,
  late: ReadonlySet<string>,
): ReadonlySet<string> {
  const found = new Set([entry]);
  for (const id of found)
    for (const [, next = ''] of (modules.get(id) ?? '').matchAll(required))
      if (!late.has(next)) found.add(next);
  return found;
}

/** A module that asks for a late one is given something that asks for it when something of it is used. */
function usedLate(text: string, mains: readonly string[]): string {
  const asked = new RegExp(`\\b(var \\w+) = (__nccwpck_require__\\((?:${mains.join('|')})\\));$`, 'gm');
  return text.replaceAll(asked, '$1 = usedLate(() => $2);');
}

const loader = `
var lateModules;
function lateModule(id) {
  return function (...args) {
    lateModules ??= __WEBPACK_EXTERNAL_createRequire(import.meta.url)('./late.cjs');
    return lateModules[id].apply(this, args);
  };
}
function usedLate(load) {
  return new Proxy({}, {get: (_, name) => load()[name]});
}
`;
