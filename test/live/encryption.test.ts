import {createHash} from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import {beforeAll, describe, expect, test} from 'vitest';
import {
  ageKey,
  encryptByHand,
  hangingAge,
  type KeyPair,
  openByHand,
  openByPassphrase,
  pathWithoutAge,
  sshKey,
} from '../support/age.js';
import {type Cluster, createCluster, describeWithPostgres} from '../support/cluster.js';
import {run} from '../support/command.js';
import {takeByHand} from '../support/hand-made.js';
import {startResultsService} from '../support/results-service.js';
import {type ActionResult, failure, runAction, startAction, succeeded} from '../support/runner.js';
import {backUp, backupDirectory, backupInputs, type Inputs, restoreInputs} from '../support/steps.js';
import {
  copyOf,
  filesBelow,
  flipByte,
  listAll,
  makeWorkspace,
  type Workspace,
  workspace,
} from '../support/workspace.js';

const secretRow = 'the row that nobody may read';
const label = 'label of a customer';
const passphrase = 'korrekt pferd batterie';
const rowIsThere = {'check-sql': `select count(*) = 1000 from confidential where note = '${secretRow}'`};
const uncompressed = {compress: 'none', label};

interface Keys {
  readonly first: KeyPair;
  readonly second: KeyPair;
  readonly stranger: KeyPair;
  readonly ed25519: KeyPair;
  readonly rsa: KeyPair;
  readonly locked: KeyPair;
}

interface StoredMetadata {
  readonly files: readonly {readonly name: string; readonly sizeBytes: number; readonly sha256: string}[];
  readonly encryption: {readonly format: string; readonly recipients: number; readonly sealed: string};
}

/** Files in which a text stands. */
function filesWith(directory: string, text: string): readonly string[] {
  return filesBelow(directory).filter((path) => readFileSync(path).includes(text));
}

const restoreOf = (home: Workspace, more: Inputs, env: Record<string, string> = {}): Promise<ActionResult> =>
  runAction(restoreInputs({...rowIsThere, ...more}), {workspace: home, env});

const verifyOf = (home: Workspace, more: Inputs): Promise<ActionResult> =>
  runAction({mode: 'verify', storage: 'directory', 'backup-name': 'nightly', ...more}, {workspace: home});

function readMetadata(home: Workspace): {readonly text: string; readonly metadata: StoredMetadata} {
  const text = readFileSync(`${backupDirectory(home)}.json`, 'utf8');
  return {text, metadata: JSON.parse(text) as StoredMetadata};
}

describeWithPostgres('an encrypted backup', () => {
  let source: Cluster;
  let keyRing: Workspace;
  let keys: Keys;
  let tablespace: string;
  let withoutAge: string;

  beforeAll(async () => {
    source = await createCluster();
    keyRing = makeWorkspace();
    tablespace = await source.tablespace('vault');
    await source.sql(
      `create table confidential tablespace vault as select '${secretRow}' as note from generate_series(1, 1000)`,
    );
    await source.sql('create database customer_x');
    const place = keyRing.directory;
    withoutAge = pathWithoutAge(join(keyRing.root, 'programs'));
    keys = {
      first: await ageKey(place, 'first'),
      second: await ageKey(place, 'second'),
      stranger: await ageKey(place, 'stranger'),
      ed25519: await sshKey(place, 'ed25519'),
      rsa: await sshKey(place, 'rsa'),
      locked: await sshKey(place, 'ed25519', 'a passphrase'),
    };
    return () => Promise.all([source.remove(), keyRing.remove()]);
  });

  /** Nothing of the content is anywhere in the workspace, but in encrypted files. */
  function expectSealed(home: Workspace): void {
    const directory = backupDirectory(home);
    expect(readdirSync(directory).filter((name) => !name.endsWith('.age'))).toEqual([]);
    for (const text of [secretRow, tablespace, 'customer_x', label])
      expect(filesWith(home.root, text)).toEqual([]);
    const {text, metadata} = readMetadata(home);
    expect(text).not.toContain('postgres"');
    expect(metadata.files.map(({name}) => name).sort()).toEqual(readdirSync(directory).sort());
    for (const {name, sizeBytes, sha256} of metadata.files) {
      const bytes = readFileSync(join(directory, name));
      expect([name, bytes.length, createHash('sha256').update(bytes).digest('hex')]).toEqual([
        name,
        sizeBytes,
        sha256,
      ]);
    }
    expect(listAll(home.temp)).toEqual([]);
  }

  test('for two recipients opens with each, by the program too, and holds no plain byte', async () => {
    const home = workspace();
    const inputs = {...uncompressed, 'encrypt-to': `${keys.first.recipient}\n${keys.second.recipient}`};
    const backup = await backUp(source, home, inputs);
    expect(backup.stdout).toContain('encrypted for 2 recipients');
    expect(backup.stdout).toContain('by the program age');
    expectSealed(home);
    const {metadata} = readMetadata(home);
    expect(metadata.encryption).toMatchObject({format: 'age', recipients: 2});

    for (const key of [keys.first, keys.second]) {
      const opened = await openByHand(join(backupDirectory(home), 'base.tar.age'), key, home.temp);
      expect(await run('tar', ['--list', `--file=${opened}`])).toContain('PG_VERSION');
      rmSync(opened);
    }
    const sealed = Buffer.from(metadata.encryption.sealed, 'base64');
    expect(
      await run('sh', [
        '-c',
        `printf %s '${sealed.toString('base64')}' | base64 -d | age -d -i "$0"`,
        keys.first.path,
      ]),
    ).toContain(label);

    const restored = succeeded(await restoreOf(home, {'decrypt-with': keys.first.identity}));
    expect(restored.outputs).toMatchObject({proof: 'recovered', 'checks-passed': 'manifest,check-sql'});
    const secretLine = keys.first.identity.split('\n').find((line) => line.startsWith('AGE')) ?? 'none';
    expect(filesWith(home.root, secretLine)).toEqual([]);
    const log = restored.stdout.split('\n').filter((line) => !line.startsWith('::add-mask::'));
    expect(log.join('\n')).not.toContain(secretLine);
    expect(restored.stdout).toContain(`::add-mask::${secretLine}`);

    const verified = succeeded(await verifyOf(home, {'decrypt-with': keys.second.path}));
    expect(verified.outputs.proof).toBe('manifest-verified');
  });

  test('is the same without the program: by Node.js, for a recipient or a passphrase', async () => {
    const home = workspace();
    const env = {PATH: withoutAge};
    const inputs = backupInputs(source, {...uncompressed, 'encrypt-to': keys.first.recipient});
    const backup = succeeded(await runAction(inputs, {workspace: home, env}));
    expect(backup.stdout).toContain('by Node.js');
    expectSealed(home);
    const archive = join(backupDirectory(home), 'base.tar.age');
    const opened = await openByHand(archive, keys.first, home.temp);
    expect(await run('tar', ['--list', `--file=${opened}`])).toContain('PG_VERSION');
    rmSync(opened);
    succeeded(await restoreOf(home, {'decrypt-with': keys.first.path}, env));
  });

  test('with a passphrase opens with it alone, by the program too', async () => {
    const home = workspace();
    await backUp(source, home, {...uncompressed, passphrase});
    expectSealed(home);
    expect(filesWith(home.root, passphrase)).toEqual([]);
    const manifest = join(backupDirectory(home), 'backup_manifest.age');
    const opened = await openByPassphrase(manifest, passphrase, home.temp);
    expect(readFileSync(opened, 'utf8')).toContain('PostgreSQL-Backup-Manifest-Version');
    rmSync(opened);
    const wrong = failure(await restoreOf(home, {passphrase: 'another passphrase'}));
    expect(wrong).toContain('it is not the one that was given');
    expect(wrong).not.toContain('another passphrase');
    expect(listAll(home.temp)).toEqual([]);
    const restored = succeeded(await restoreOf(home, {passphrase}));
    expect(restored.outputs.proof).toBe('recovered');
  });

  test('for SSH keys needs the program, and leaves no key behind', async () => {
    const home = workspace();
    const inputs = {'encrypt-to': `${keys.ed25519.recipient}\n${keys.rsa.recipient}`};
    await backUp(source, home, inputs);
    expect(succeeded(await verifyOf(home, {'decrypt-with': keys.rsa.identity})).outputs.proof).toBe(
      'manifest-verified',
    );
    expect(listAll(home.temp)).toEqual([]);
    const restored = succeeded(await restoreOf(home, {'decrypt-with': keys.ed25519.identity}));
    expect(restored.outputs.proof).toBe('recovered');
    expect(filesWith(home.root, keys.ed25519.identity.split('\n')[2] ?? 'none')).toEqual([]);

    const env = {PATH: withoutAge};
    const cure = 'sudo apt-get install --yes age';
    const fresh = copyOf(home);
    expect(failure(await restoreOf(fresh, {'decrypt-with': keys.ed25519.identity}, env))).toContain(cure);
    const again = backupInputs(source, {...inputs, 'backup-name': 'again'});
    expect(failure(await runAction(again, {workspace: fresh, env}))).toContain(cure);
    expect(failure(await restoreOf(fresh, {'decrypt-with': keys.locked.path}))).toContain('has a passphrase');
    expect(failure(await restoreOf(fresh, {'decrypt-with': keys.first.identity}))).toContain(
      'encrypted for other keys',
    );
  });

  test('of plain format is packed into encrypted archives', async () => {
    const home = workspace();
    await backUp(source, home, {format: 'plain', label, 'encrypt-to': keys.first.recipient});
    expect(readdirSync(backupDirectory(home)).sort()).toEqual([
      expect.stringMatching(/^\d+\.tar\.zst\.age$/),
      'base.tar.zst.age',
    ]);
    expect(readdirSync(join(home.directory, 'backups')).sort()).toEqual(['nightly', 'nightly.json']);
    expectSealed(home);
    succeeded(await verifyOf(home, {'decrypt-with': keys.first.identity}));
    succeeded(await restoreOf(home, {'decrypt-with': keys.first.identity}));
  });

  test('that somebody encrypted by hand restores, and is verified', async () => {
    const home = workspace();
    const directory = backupDirectory(home);
    mkdirSync(join(directory, '..'));
    await takeByHand(source, directory, ['--format=tar', '--gzip']);
    for (const path of filesBelow(directory)) {
      await encryptByHand(path, keys.first);
      rmSync(path);
    }
    const restored = succeeded(await restoreOf(home, {'decrypt-with': keys.first.identity}));
    expect(restored.outputs.proof).toBe('recovered');
    succeeded(await verifyOf(home, {'decrypt-with': keys.first.identity}));
  });

  test('whose encryption is cancelled leaves nothing', async () => {
    const home = workspace();
    hangingAge(home.temp);
    const action = startAction(backupInputs(source, {'encrypt-to': keys.first.recipient}), {
      workspace: home,
      programs: home.temp,
    });
    const partial = join(home.directory, 'backups', 'nightly.partial');
    const hasBegun = () => listAll(partial).some((name) => name.endsWith('.age'));
    await action.until(hasBegun, 'encryption began');
    process.kill(action.pid, 'SIGINT');
    const result = await action.result;
    expect(result.errors[0]).toContain('Cancelled by SIGINT');
    expect(listAll(join(home.directory, 'backups'))).toEqual([]);
  });

  describe('that is not as it was', () => {
    let made: Workspace;

    beforeAll(async () => {
      made = makeWorkspace();
      await backUp(source, made, {'encrypt-to': keys.first.recipient});
      await backUp(source, made, {'encrypt-to': keys.first.recipient, 'backup-name': 'other'});
      return () => made.remove();
    });

    const file = (home: Workspace, name: string, backup = 'nightly') =>
      join(home.directory, 'backups', backup, name);
    const middle = (path: string) => Math.floor(readFileSync(path).length / 2);
    const withoutMetadata = (home: Workspace) => rmSync(`${backupDirectory(home)}.json`);

    const cases: readonly {
      readonly what: string;
      readonly change: (home: Workspace) => void;
      readonly message: RegExp;
    }[] = [
      {
        what: 'with a byte flipped',
        change: (home) => flipByte(file(home, 'base.tar.zst.age'), middle(file(home, 'base.tar.zst.age'))),
        message: /base\.tar\.zst\.age: (it cannot be decrypted: it was changed|its SHA-256)/,
      },
      {
        what: 'with a byte of the header flipped',
        change: (home) => flipByte(file(home, 'base.tar.zst.age'), 60),
        message: /base\.tar\.zst\.age/,
      },
      {
        what: 'truncated',
        change: (home) =>
          truncateSync(file(home, 'base.tar.zst.age'), middle(file(home, 'base.tar.zst.age'))),
        message: /base\.tar\.zst\.age: it has \d+ bytes, but \d+ were recorded/,
      },
      {
        what: 'truncated between two pieces, without metadata',
        change: (home) => {
          withoutMetadata(home);
          const path = file(home, 'base.tar.zst.age');
          const headerBytes =
            readFileSync(path).indexOf('\n', readFileSync(path).indexOf('\n--- ') + 1) + 1 + 16;
          truncateSync(path, headerBytes + 2 * (65_536 + 16));
        },
        message: /base\.tar\.zst\.age: it cannot be decrypted: it was changed or cut/,
      },
      {
        what: 'with an archive of another backup',
        change: (home) =>
          copyFileSync(file(home, 'base.tar.zst.age', 'other'), file(home, 'base.tar.zst.age')),
        message: /base\.tar\.zst\.age: (it has \d+ bytes|its SHA-256)/,
      },
      {
        what: 'with an archive of another backup, without metadata',
        change: (home) => {
          withoutMetadata(home);
          copyFileSync(file(home, 'base.tar.zst.age', 'other'), file(home, 'base.tar.zst.age'));
        },
        message: /damaged/,
      },
      {
        what: 'with two files exchanged',
        change: (home) => {
          renameSync(file(home, 'pg_wal.tar.age'), file(home, 'x'));
          renameSync(file(home, 'backup_manifest.age'), file(home, 'pg_wal.tar.age'));
          renameSync(file(home, 'x'), file(home, 'backup_manifest.age'));
        },
        message: /The backup is damaged: (backup_manifest|pg_wal\.tar\.age|\d+ problems)/,
      },
    ];

    test.for(cases)('is refused: $what', async ({change, message}) => {
      const home = copyOf(made);
      change(home);
      for (const result of [
        await restoreOf(home, {'decrypt-with': keys.first.identity}),
        await verifyOf(home, {'decrypt-with': keys.first.identity}),
      ]) {
        expect(failure(result)).toMatch(message);
        expect(result.stdout).not.toContain('accepts connections');
        expect(listAll(home.temp)).toEqual([]);
      }
    });

    test('is refused without a key, and with a wrong one, before anything is fetched', async () => {
      const home = copyOf(made);
      for (const more of [{}, {'decrypt-with': keys.stranger.identity}, {'decrypt-with': '/no/such/file'}]) {
        const isKnown = 'decrypt-with' in more;
        const expected = isKnown
          ? /encrypted for other keys|cannot be read \(ENOENT\)/
          : /nothing to open it with/;
        expect(failure(await restoreOf(home, more))).toMatch(expected);
        expect(failure(await verifyOf(home, more))).toMatch(expected);
      }
      withoutMetadata(home);
      expect(failure(await restoreOf(home, {}))).toMatch(/encrypted, and there is nothing to open it with/);
      expect(failure(await verifyOf(home, {'decrypt-with': keys.stranger.identity}))).toMatch(
        /encrypted for other keys/,
      );
      expect(listAll(home.temp)).toEqual([]);
    });
  });
});

describeWithPostgres('artifacts', () => {
  let source: Cluster;

  beforeAll(async () => {
    source = await createCluster();
    return () => source.remove();
  });

  const event = (home: Workspace, repository: unknown): Record<string, string> => {
    const path = join(home.fileCommands, 'own-event.json');
    writeFileSync(
      path,
      JSON.stringify({schedule: '0 0 * * *', ...(repository === null ? {} : {repository})}),
    );
    return {GITHUB_EVENT_PATH: path};
  };

  test('of a public repository are refused in plain text, and restore when they are encrypted', async () => {
    const service = await startResultsService();
    const home = workspace();
    const key = await ageKey(home.temp, 'own');
    const inputs = backupInputs(source, {storage: 'artifact'});
    try {
      const isPublic = {...service.env, ...event(home, {full_name: 'octo-org/octo-repo', private: false})};
      const dry = failure(await runAction({...inputs, 'dry-run': 'true'}, {env: isPublic}));
      const refused = await runAction(inputs, {env: isPublic});
      expect(failure(refused)).toBe(dry);
      expect(dry).toContain('this repository is public');
      expect(dry).toContain('allow-public-plaintext: true');
      expect(service.artifacts()).toEqual([]);
      expect(listAll(refused.workspace.directory)).toEqual([]);

      const encrypted = succeeded(await runAction({...inputs, 'encrypt-to': key.recipient}, {env: isPublic}));
      expect(encrypted.warnings).toEqual([]);
      const names = service.artifacts().map(({name}) => name);
      expect(names.filter((name) => !/\.age$/.test(name))).toEqual(['nightly.json']);
      const again = restoreInputs({storage: 'artifact', 'decrypt-with': key.identity});
      expect(succeeded(await runAction(again, {env: service.env})).outputs.proof).toBe('recovered');

      service.removeAll();
      const allowed = {...inputs, 'allow-public-plaintext': 'true'};
      const stored = succeeded(await runAction(allowed, {env: isPublic}));
      expect(stored.warnings.join()).toContain('this repository is public');
    } finally {
      await service.stop();
    }
  });

  test('are stored with a warning where nobody tells whether the repository is public, else as the API says', async () => {
    const service = await startResultsService();
    const home = workspace();
    const inputs = backupInputs(source, {storage: 'artifact', 'dry-run': 'true'});
    try {
      const silent = {...service.env, ...event(home, null)};
      service.setVisibility('public');
      expect(failure(await runAction(inputs, {env: silent}))).toContain('this repository is public');
      expect(failure(await runAction({...inputs, 'github-token': service.token}, {env: silent}))).toContain(
        'this repository is public',
      );
      service.setVisibility('private');
      expect(succeeded(await runAction(inputs, {env: silent})).warnings).toEqual([]);
      const asked = succeeded(await runAction({...inputs, 'github-token': service.token}, {env: silent}));
      expect(asked.warnings).toEqual([]);
      service.setFault({at: 'rest-other', kind: 'forbidden'});
      const unknown = succeeded(await runAction(inputs, {env: silent}));
      expect(unknown.warnings.join()).toContain('whether this repository is public cannot be told');
    } finally {
      await service.stop();
    }
  });
});
