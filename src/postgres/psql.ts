import type {Host} from '../host/host.js';
import type {Row} from './session.js';

/** How psql, where it runs, reaches a server. */
export interface PsqlAccess {
  readonly host: Host;
  /** Its path, or `psql`. */
  readonly program: string;
  /** libpq's variables: where the server is, and as whom to log in. */
  readonly env: Readonly<Record<string, string>>;
}

/** Options by which psql asks for nothing, prints rows alone, and ends at the first error. */
export const bareOptions: readonly string[] = [
  '--no-psqlrc',
  '--no-password',
  '--quiet',
  '--tuples-only',
  '--no-align',
  '--set=ON_ERROR_STOP=1',
];

/** Runs one query; values replace $1, $2, …. Throws a CommandError with psql's message. */
export async function queryByPsql(
  access: PsqlAccess,
  query: string,
  values: readonly string[] = [],
): Promise<readonly Row[]> {
  const asJson = `select coalesce(json_agg(r), '[]') from (${query}) r;`;
  const text = await runPsql(access, asJson.replaceAll(/\$(\d+)/g, ":'v$1'"), values);
  return JSON.parse(text) as readonly Row[];
}

/**
 * Runs a script and returns what its queries print. The script is ours alone; values are in its variables v1, v2, …
 * (`:'v1'` is one as a string constant, quoted by psql). They travel by environment, so that they are in no argument,
 * and a shell only ever expands them within quotes. (psql's own `\getenv` is new in 15, and printf's last line
 * break is the one that backquotes take away.) Throws a CommandError with psql's message.
 */
export async function runPsql(
  {host, program, env}: PsqlAccess,
  script: string,
  values: readonly string[] = [],
): Promise<string> {
  const variables = values.map((_, index) => `\\set v${index + 1} \`printf '%s\\n' "$VALUE_${index + 1}"\``);
  const named = values.map((value, index) => [`VALUE_${index + 1}`, value]);
  const args = [
    ...bareOptions,
    // Nothing of a statement in an error's message.
    '--set=VERBOSITY=terse',
    '--file=-',
  ];
  const command = {program, args, env: {...env, PGCLIENTENCODING: 'UTF8', ...Object.fromEntries(named)}};
  const {stdout} = await host.run(command, {stdin: `${variables.join('\n')}\n${script}\n`});
  return stdout;
}
