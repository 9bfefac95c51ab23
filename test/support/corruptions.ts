import {appendFileSync, rmSync, symlinkSync, truncateSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {theOnly} from './hand-made.js';
import {flipByte} from './workspace.js';

/** A way to spoil a backup. */
export interface Corruption {
  readonly damage: string;
  /** Changes a data directory and its tablespace, or, for a backup in tar format, what was in the archive. */
  spoil(root: string, tablespace: string): void;
  /** What the error must say. */
  readonly names: RegExp;
  /** PostgreSQL's own pg_verifybackup does not look at it in an archive. */
  readonly passesInTar?: boolean;
}

/** The cases of pg_verifybackup/t/003_corruption.pl, but for those that need another account, and some more. */
export const corruptions: readonly Corruption[] = [
  {
    damage: 'extra_file',
    spoil: (root) => writeFileSync(join(root, 'extra_file'), 'This is an extra file.\n'),
    names: /extra_file: it is there, but backup_manifest does not list it/,
  },
  {
    damage: 'extra_tablespace_file',
    spoil: (_root, tablespace) => writeFileSync(join(tablespace, 'extra_ts_file'), 'extra'),
    names: /pg_tblspc\/\d+\/extra_ts_file: it is there, but/,
  },
  {
    damage: 'missing_file',
    spoil: (root) => rmSync(join(root, 'pg_xact/0000')),
    names: /pg_xact\/0000: it is missing/,
  },
  {
    damage: 'missing_tablespace',
    spoil: (_root, tablespace) => rmSync(theOnly(tablespace, /^PG_/), {recursive: true}),
    names: /pg_tblspc\/\d+\/PG_\d+_\d+\/\d+\/\d+: it is missing/,
  },
  {
    damage: 'append_to_file',
    spoil: (root) => appendFileSync(join(root, 'global/pg_control'), 'x'),
    names: /global\/pg_control: it has 8193 bytes, but 8192 in backup_manifest/,
  },
  {
    damage: 'truncate_file',
    spoil: (root) => truncateSync(join(root, 'pg_hba.conf')),
    names: /pg_hba\.conf: it has 0 bytes/,
  },
  {
    damage: 'replace_file',
    spoil: (root) => writeFileSync(join(root, 'PG_VERSION'), 'q'.repeat(3)),
    names: /PG_VERSION: its CRC32C is [0-9a-f]{8}, but [0-9a-f]{8} in backup_manifest/,
  },
  {
    damage: 'a flipped byte in a table',
    spoil: (root) => flipByte(join(root, 'base/1/1259'), 5000),
    names: /base\/1\/1259: its CRC32C is/,
  },
  {
    damage: 'a missing backup_label',
    spoil: (root) => rmSync(join(root, 'backup_label')),
    names: /backup_label: it is missing/,
  },
  {
    damage: 'a link in place of a directory',
    spoil: (root) => {
      rmSync(join(root, 'pg_twophase'), {recursive: true});
      symlinkSync('/etc', join(root, 'pg_twophase'));
    },
    names: /pg_twophase: a link or a special file/,
    passesInTar: true,
  },
];
