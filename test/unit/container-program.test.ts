import {execFileSync, spawnSync} from 'node:child_process';
import {describe, expect, test} from 'vitest';
import {mark, telling} from '../../src/host/container-program.js';

describe('a program that tells its process number', () => {
  const script = 'printf "%s|" "$0" "$@"; echo; exit 3';
  test.each([
    ['a script', {program: 'sh', args: ['-c', script, 'sh', 'a b', "it's", '']}, "sh|a b|it's||\n"],
    ['a script without arguments', {program: 'sh', args: ['-c', script]}, /^.*sh\|\n$/],
    ['another program', {program: '/bin/echo', args: ['-c', 'exit 3', 'x']}, '-c exit 3 x\n'],
  ] as const)('is %s with its arguments as they are', (_, command, output) => {
    const told = telling(command);
    const {pid, stdout, stderr, status} = spawnSync(told.program, [...told.args], {encoding: 'utf8'});
    expect(stderr).toBe(`${mark}${pid}\n`);
    if (typeof output === 'string') expect(stdout).toBe(output);
    else expect(stdout).toMatch(output);
    expect(status).toBe(command.program === 'sh' ? 3 : 0);
  });

  test('starts no shell besides the one that a script needs', () => {
    const shells = 'tr "\\0" " " <"/proc/$PPID/cmdline"';
    const told = telling({program: 'sh', args: ['-c', shells, 'sh']});
    const parent = execFileSync(told.program, [...told.args], {encoding: 'utf8', stdio: 'pipe'});
    expect(parent).toContain('node');
  });
});
