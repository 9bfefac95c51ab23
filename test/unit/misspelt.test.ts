import {describe, expect, test} from 'vitest';
import {knownInputs} from '../../src/inputs/inputs.js';
import {misspeltInputs} from '../../src/inputs/misspelt.js';

describe('an input that is not known', () => {
  test.each([
    ['backup_name', 'backup-name'],
    ['backupname', 'backup-name'],
    ['compres', 'compress'],
    ['contianer', 'container'],
    ['recovery_target_tiem', 'recovery-target-time'],
    ['pasword', 'password'],
  ])('%s, was probably meant to be %s', (given, meant) => {
    expect(misspeltInputs({[`INPUT_${given.toUpperCase()}`]: 'x'}, knownInputs)).toEqual([{given, meant}]);
  });

  test.each([
    'INPUT_NODE',
    'INPUT_PATH',
    'INPUT_ARGS',
    'INPUT_ENTRYPOINT',
    'INPUT_REF',
    'INPUT_TOKEN',
    'INPUT_POSTGRES_VERSION',
  ])('%s, is somebody else’s', (variable) => {
    expect(misspeltInputs({[variable]: 'x'}, knownInputs)).toEqual([]);
  });

  test('is not looked at when it is empty, or right', () => {
    expect(
      misspeltInputs({INPUT_BACKUP_NAME: '', 'INPUT_BACKUP-NAME': 'x', PATH: '/bin'}, knownInputs),
    ).toEqual([]);
  });
});
