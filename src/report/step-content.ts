import {backupContent} from './backup-content.js';
import type {Content} from './content.js';
import {prepareContent} from './prepare-content.js';
import {restoreContent} from './restore-content.js';
import type {Result, Story} from './story.js';
import {verifyContent} from './verify-content.js';

/** What there is to tell of a step of any mode that succeeded. */
export function contentOf(result: Result, story: Story): Content {
  switch (result.mode) {
    case 'backup':
      return backupContent(result, story);
    case 'restore':
      return restoreContent(result, story);
    case 'verify':
      return verifyContent(result, story);
    case 'prepare':
      return prepareContent(result);
  }
}
