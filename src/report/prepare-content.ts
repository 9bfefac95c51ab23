import {nameOf} from '../postgres/connection.js';
import type {PrepareResult} from '../prepare/prepare.js';
import {type Block, type Content, factsOf, paragraph, type Text} from './content.js';

/** What there is to tell of a server that was prepared, or of the plan for it. */
export function prepareContent(result: PrepareResult): Content {
  const {role, connection, server, shown, lines} = result.plan;
  const list = (texts: readonly string[], nothing: string): Text =>
    texts.length === 0 ? nothing : {lines: texts.map((code) => ({code}))};
  const proof = result.dryRun ? undefined : result.proof;
  return {
    mark: undefined,
    title: proof ? ['Role ', {code: role}, ' is ready for backups'] : ['Plan for role ', {code: role}],
    blocks: [
      ...(proof ? [] : [paragraph('Dry run: nothing was changed.')]),
      ...factsOf([
        ['Server', `${nameOf(connection)}, PostgreSQL ${server.major}`],
        ['Role', list(shown, 'was as it should be')],
        ['pg_hba.conf', list(lines, 'let it in already')],
        ...(proof
          ? [['Replication connection', proof.replicates ? 'opened' : 'not tried from its network'] as const]
          : []),
      ]),
      ...(proof?.warnings ?? []).map((text): Block => ({kind: 'quote', mark: 'WARNING', text})),
    ],
  };
}
