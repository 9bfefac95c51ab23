import {execFileSync} from 'node:child_process';
import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect, test} from 'vitest';
import {splitLate} from '../../script/late-modules.js';
import {workspace} from '../support/workspace.js';

/** As ncc writes it: the entry needs `near` and `far`, `far` needs `farther` and `near`, and says when it runs. */
const bundle = `import { createRequire as __WEBPACK_EXTERNAL_createRequire } from "module";
var __webpack_modules__ = ({

/***/ 1:
/***/ ((module, exports, __nccwpck_require__) => {
var far = __nccwpck_require__(2);
/* harmony import */ var near = __nccwpck_require__(3);
console.log('entry', near.name);
if (process.argv[2] === 'far') console.log(new far.Far().name);

/***/ }),

/***/ 2:
/***/ ((module, exports, __nccwpck_require__) => {
const farther = __nccwpck_require__(4), near = __nccwpck_require__(3);
console.log('far runs');
exports.Far = class Far { name = farther.name + near.name };

/***/ }),

/***/ 3:
/***/ ((module, exports) => {
exports.name = 'near';

/***/ }),

/***/ 4:
/***/ ((module, exports) => {
exports.name = 'farther';

/***/ }),

/***/ 5:
/***/ ((module) => {
module.exports = __WEBPACK_EXTERNAL_createRequire(import.meta.url)("fs");

/***/ })

/******/ });
var cache = {};
function __nccwpck_require__(id) {
  if (cache[id]) return cache[id].exports;
  var module = cache[id] = {exports: {}};
  __webpack_modules__[id].call(module.exports, module, module.exports, __nccwpck_require__);
  return module.exports;
}
/******/ var __webpack_exports__ = __nccwpck_require__(1);
`;

test('a package that few steps use is run, with what it alone needs, when something of it is used', () => {
  const split = splitLate(bundle, {far: 'class Far'});
  expect(split.late).toContain("'farther'");
  expect(split.late).not.toMatch(/'near'|import\.meta/);
  const {directory} = workspace();
  const run = (...args: readonly string[]) =>
    execFileSync(process.execPath, [join(directory, 'index.mjs'), ...args], {encoding: 'utf8'});
  writeFileSync(join(directory, 'index.mjs'), split.bundle);
  expect(run()).toBe('entry near\n');
  writeFileSync(join(directory, 'late.cjs'), split.late);
  expect(run('far')).toBe('entry near\nfar runs\nfarthernear\n');
});

test.each([
  ['no package', 'class Near', 'far is told by "class Near", and that is in 0 modules.'],
  ['several', 'name', 'far is told by "name", and that is in 4 modules.'],
])('a bundle in which %s can be told is not split', (_, sign, message) => {
  expect(() => splitLate(bundle, {far: sign})).toThrow(message);
});

test('something that is no bundle of ncc is not split', () => {
  expect(() => splitLate('', {})).toThrow('does not tell where it begins');
});
