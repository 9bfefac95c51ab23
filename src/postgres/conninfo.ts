/** libpq's connection keywords and their values; `password` may be among them. */
export type Conninfo = Readonly<Record<string, string>>;

/**
 * A connection string that libpq would refuse. Its message never repeats a part of the string: a password that
 * is not percent-encoded ends up in any of them.
 */
export class ConninfoError extends Error {}

/**
 * Reads a connection string as libpq does: a URI (`postgresql://…`) or `key=value` pairs.
 * Throws a ConninfoError. Source: PostgreSQL manual, "Connection Strings"; fe-connect.c, conninfo_parse and
 * conninfo_uri_parse.
 */
export function parseConninfo(text: string): Conninfo {
  return /^postgres(ql)?:\/\//.test(text) ? parseUri(text) : parsePairs(text);
}

function parsePairs(text: string): Conninfo {
  const found: Record<string, string> = {};
  const pair =
    /\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\[\s\S])*)'(?=\s|$)|((?:[^\s\\']|\\[\s\S])(?:[^\s\\]|\\[\s\S])*|))\s*/y;
  while (pair.lastIndex < text.length) {
    const at = pair.lastIndex;
    const match = pair.exec(text);
    if (!match?.[1] || match[0] === '') {
      throw new ConninfoError(
        `character ${at + 1} does not start a key=value pair (quote values that hold spaces: key='a b')`,
      );
    }
    found[match[1]] = (match[2] ?? match[3] ?? '').replaceAll(/\\([\s\S])/g, '$1');
  }
  return found;
}

function parseUri(text: string): Conninfo {
  const match =
    /^postgres(?:ql)?:\/\/(?:([^:@/?#[\]]*)(?::([^@/]*))?@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/s.exec(text);
  if (!match) throw new ConninfoError(uriHint);
  const [, user, password, hosts = '', database, query = ''] = match;
  // A password that holds @ or / unencoded would show up in the host or the database.
  if (`${hosts}${database ?? ''}`.includes('@')) throw new ConninfoError(uriHint);
  const found: Record<string, string> = {...parseHosts(hosts)};
  const given = {user, password, dbname: database};
  for (const [key, value] of Object.entries(given)) if (value) found[key] = decode(value);
  for (const part of query.split('&').filter(Boolean)) {
    const [key = '', value, ...rest] = part.split('=');
    if (key === '' || value === undefined || rest.length > 0) throw new ConninfoError(uriHint);
    // The JDBC spelling that libpq takes too.
    if (key === 'ssl' && value === 'true') found.sslmode = 'require';
    else found[decode(key)] = decode(value);
  }
  return found;
}

const uriHint =
  'it is not postgresql://user:password@host:port/database?key=value; percent-encode : / @ ? # % and spaces in each part';

function parseHosts(text: string): Conninfo {
  const hosts: string[] = [];
  const ports: string[] = [];
  for (const one of text === '' ? [] : text.split(',')) {
    const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]]*))(?::(\d*))?$/.exec(one);
    if (!match) throw new ConninfoError(uriHint);
    hosts.push(decode(match[1] ?? match[2] ?? ''));
    ports.push(match[3] ?? '');
  }
  return {
    ...(hosts.some(Boolean) && {host: hosts.join(',')}),
    ...(ports.some(Boolean) && {port: ports.join(',')}),
  };
}

function decode(text: string): string {
  if (/%(?![0-9A-Fa-f]{2})|%00/.test(text)) throw new ConninfoError(uriHint);
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new ConninfoError('a percent-encoded part is not UTF-8', {cause});
  }
}

/** Writes `key='value'` pairs for libpq, with quotes and backslashes escaped. */
export function formatConninfo(conninfo: Conninfo): string {
  return Object.entries(conninfo)
    .map(([key, value]) => `${key}='${value.replaceAll(/[\\']/g, '\\$&')}'`)
    .join(' ');
}
