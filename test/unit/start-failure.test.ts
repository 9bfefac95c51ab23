import {describe, expect, test} from 'vitest';
import {reasonOf} from '../../src/restore/start-cures.js';

const line = (text: string) => `2026-11-29 23:36:34.123 UTC [42] ${text}`;

describe('why a restored server does not run', () => {
  test.each([
    [
      'its own word, not what it told a client afterwards',
      ['LOG:  shutdown at recovery target', 'FATAL:  the database system is shutting down'],
      'LOG: shutdown at recovery target',
    ],
    [
      'what a client was told before it could be served does not count either',
      [
        'FATAL:  the database system is starting up',
        'FATAL:  the database system is not yet accepting connections',
      ],
      undefined,
    ],
    [
      'what its primary told it counts',
      [
        'FATAL:  could not connect to the primary server: connection to server at "db" failed: FATAL:  the database system is starting up',
        'FATAL:  the database system is starting up',
      ],
      'FATAL: could not connect to the primary server: connection to server at "db" failed: FATAL:  the database system is starting up',
    ],
    ['the last word of several', ['ERROR:  one', 'PANIC:  two', 'LOG:  three'], 'PANIC: two'],
  ] as const)('is %s', (_, lines, reason) => {
    expect(reasonOf(lines.map(line))).toBe(reason);
  });
});
