import {imageWith} from './match.js';
import {standbyCures} from './standby/standby-cures.js';

/** A line of the server's log that says why it does not start, and what to do about it. */
interface Cure {
  readonly pattern: RegExp;
  cure(match: RegExpExecArray, major: number): string;
}

const cures: readonly Cure[] = [
  {
    pattern: /fetch-wal: (.+) cannot be read by (.+)/,
    cure: ([, file = '', user = '']) =>
      `In wal-directory, ${file} cannot be read by ${user}, the account that PostgreSQL runs as: chmod a+r it, and all files beside it.`,
  },
  {
    pattern: /fetch-wal: (.+ cannot be (?:decompressed|copied|read).*)/,
    cure: ([, what = '']) =>
      `In wal-directory, ${what}: copy that file there again, or set a recovery target before it. The log of the restored server is in the group above.`,
  },
  {
    pattern: /archive file "(.+?)" has wrong size: (\d+) instead of (\d+)/,
    cure: ([, file = '']) =>
      `The archived ${file} is damaged: copy it to the archive again, or set a recovery target before it.`,
  },
  {
    pattern: /could not restore file "(.+?)" from archive: (command not found|command was found)/,
    cure: () =>
      'restore-command names a program that is not there, or may not be run, where the server runs. Install it there, or write its full path.',
  },
  {
    pattern: /could not restore file "(.+?)" from archive: (.+)/,
    cure: ([, file = '', how = '']) =>
      `restore-command failed for ${file} (${how}); a status from 1 to 125 would have said that the archive does not have it. What it printed is in the log of the restored server, in the group above.`,
  },
  {
    pattern: /requested recovery stop point is before consistent recovery point/,
    cure: () =>
      'The target lies before the end of the backup: choose a later one, recovery-target: immediate for the end of the backup itself, or an older backup.',
  },
  {
    pattern: /recovery target timeline (\d+) does not exist/,
    cure: () =>
      'The archive does not have the history file of that timeline: add it, or set recovery-target-timeline to latest or current.',
  },
  {
    pattern:
      /requested timeline \d+ (is not a child of this server's history|does not contain minimum recovery point)/,
    cure: () =>
      'That timeline branched off before the end of the backup: set recovery-target-timeline: current to stay on the timeline of the backup, or restore another backup.',
  },
  {
    // Only replay looks for one (tablespace.c, create_tablespace_directories), and no restore can move it elsewhere.
    pattern: /(?:FATAL|ERROR): +directory "(.+)" does not exist/,
    cure: ([, path = '']) =>
      `The WAL creates a tablespace there, and replay needs its path: create the directory ${path} where the server runs, empty and owned by the account that PostgreSQL runs as, or set a recovery target before it.`,
  },
  {
    pattern: /multiple recovery targets specified/,
    cure: () => 'postgresql-conf sets a recovery_target… besides the input: remove it there.',
  },
  {
    pattern: /must specify "?restore_command"? when standby mode is not enabled/,
    cure: () =>
      'postgresql-conf sets restore_command to nothing: remove it there, and use the input restore-command or wal-directory.',
  },
  {
    pattern: /shutdown at recovery target/,
    cure: () =>
      'recovery_target_action in postgresql-conf stops the server at its target: remove it there, and use the input recovery-target-action (promote or pause).',
  },
  {
    // Without isolation a setting of an extension may come along with the backup.
    pattern: /unrecognized configuration parameter "(.+?)"/,
    cure: ([, name], major) =>
      `PostgreSQL ${major} does not know ${name}: correct it in postgresql-conf, or remove it there; if it came with the backup, isolate: true leaves it out.`,
  },
  {
    pattern:
      /(?:invalid value for parameter|parameter) "(.+?)"(?:: "| requires a )|is outside the valid range for parameter "(.+?)"/,
    cure: ([, name, ranged]) =>
      `Give ${name ?? ranged} a value that it takes, in postgresql-conf, or leave it out there. What it takes is in the log above.`,
  },
  {
    pattern: /syntax error in file "(?:.+?)" line \d+, near (.+)/,
    cure: ([, near = '']) =>
      `Write postgresql-conf as lines of postgresql.conf, name = 'value'; what is wrong is at ${near}.`,
  },
  {
    pattern: /could not open (?:configuration )?(?:file|directory) "(.+?)": .*(?:directory|denied)/,
    cure: ([, path = '']) =>
      `The configuration names ${path}, which is not there, or which PostgreSQL's account may not read: make it in an earlier step, or remove the line that names it from postgresql-conf.`,
  },
  {
    pattern:
      /could not (?:load|access) (?:server certificate|private key|root certificate|server CRL)[^"]*"(.+?)"/,
    cure: ([, path = '']) =>
      `TLS is on, and ${path} is not there: set postgresql-conf: ssl = off, or give the full path of a file that PostgreSQL's account may read.`,
  },
  {
    pattern: /could not load \S*(hba|ident)\S*/,
    cure: ([, which = '']) =>
      `postgresql-conf names a file of rules that cannot be read: remove ${which}_file there, or give the path of a file that PostgreSQL's account may read.`,
  },
  {
    pattern: /could not create lock file "(.+?)\/[^/]+": (?:No such file or directory|Permission denied)/,
    cure: ([, directory = '']) =>
      `Make ${directory} in an earlier step, owned by PostgreSQL's account, or leave unix_socket_directories and external_pid_file out of postgresql-conf.`,
  },
  {
    pattern: /could not access file "(.+?)": No such file or directory/,
    cure: ([, library = ''], major) =>
      `The server loads a library that is missing here. Use ${imageWith([library], major)}, or postgresql-conf: shared_preload_libraries = ''`,
  },
  {
    pattern: /could not (map anonymous|resize|create) shared memory|could not resize shared memory segment/,
    cure: () =>
      'The server asks for more shared memory than there is. Set postgresql-conf: shared_buffers = 32MB, and huge_pages = off, or give the service options: --shm-size 256m',
  },
  {
    pattern: /could not bind .* address .*: Address already in use|could not create any TCP\/IP sockets/,
    cure: () => 'Another server listens there: set listen-port to a port that is free.',
  },
  {
    pattern: /database locale is incompatible with operating system/,
    cure: () =>
      'The locale of that database is missing here: add it with localedef in an earlier step, or use an image of the source’s release.',
  },
  ...standbyCures,
];

/** The lines that have a cure, for docs/troubleshooting.md to be held to. */
export const knownLogLines: readonly RegExp[] = cures.map(({pattern}) => pattern);

/** What a server says of its configuration ahead of "contains errors", its last word. */
const aboutConfiguration =
  /LOG: +(.*(?:configuration parameter|for parameter|parameter ".+" requires|syntax error in file|could not open (?:configuration )?(?:file|directory)|could not load).*)/;

/**
 * The last line of a server's log that says why it does not run. What it told a client that it could not serve yet, or
 * no longer, tells nothing (backend_startup.c; postmaster.c before PostgreSQL 17).
 */
export function lastWord(lines: readonly string[]): string | undefined {
  return lines.findLast(
    (line) =>
      /(FATAL|PANIC|ERROR):|LOG: +shutdown at recovery target/.test(line) &&
      !/^(?:(?!FATAL:).)*FATAL: +the database system is /.test(line),
  );
}

/**
 * Why a server did not start, by its last line that says so; where that only points at what it said before of its
 * configuration, by that too. Undefined when no line says it.
 */
export function reasonOf(lines: readonly string[]): string | undefined {
  const last = lastWord(lines);
  const why = last?.replace(/^.*?(FATAL|PANIC|ERROR|LOG): +/, '$1: ');
  if (why === undefined || !/contains errors|could not load/.test(why)) return why;
  const before = lines.flatMap((line) => aboutConfiguration.exec(line)?.[1] ?? []);
  return [why, ...new Set(before)].join('; ');
}

/** What to do about a failure that the log tells, where we know it. */
export function cureOf(lines: readonly string[], major: number): string | undefined {
  for (const {pattern, cure} of cures) {
    for (const line of lines) {
      const match = pattern.exec(line);
      if (match) return cure(match, major);
    }
  }
  return undefined;
}
