import {existsSync} from 'node:fs';
import {describe} from 'vitest';

const paths = ['chromium', 'chromium-browser', 'google-chrome'].map((name) => `/usr/bin/${name}`);

/** The browser that is installed; playwright-core brings none. */
export const browserPath = paths.find((path) => existsSync(path));

/** As root there is no sandbox; nothing is asked of the network. */
export const browserArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** `describe` for tests that need a browser: without it they fail in CI, and are skipped loudly elsewhere. */
export function describeWithBrowser(subject: string, tests: () => void): void {
  const missing = 'No browser is installed: apt-get install chromium.';
  if (browserPath !== undefined) {
    describe(subject, tests);
    return;
  }
  if (process.env.CI !== undefined) throw new Error(missing);
  process.stderr.write(`\n\n### SKIPPED: ${subject}. ${missing}\n\n`);
  describe.skip(subject, tests);
}
