/** Where the scripts below note each file that PostgreSQL asks for, a name a line; beside them. */
export const askedFileName = 'asked-for';

const note = `echo "$name" >> "\${0%/*}/${askedFileName}"`;

/**
 * The script behind `restore_command` for a directory of WAL: a segment or history file, plain or compressed.
 * Its arguments are the directory, `%f` and `%p`. Status 1 says that the file is not in the archive, which ends
 * recovery in peace; a status over 125 ends it with an error (xlogarchive.c, RestoreArchivedFile).
 */
export const fetchWalScript = `#!/bin/sh
directory=$1 name=$2
${note}
fail() { echo "fetch-wal: $1" >&2; exit 200; }
ls "$directory" > /dev/null || fail "$directory cannot be read"
readable() { [ -r "$directory/$1" ] || fail "$1 cannot be read by $(id -un)"; }
unpack() { readable "$name.$2"; "$1" -dc "$directory/$name.$2" > "$3" || fail "$name.$2 cannot be decompressed by $1"; }
if [ -f "$directory/$name" ]; then readable "$name"; cp "$directory/$name" "$3" || fail "$name cannot be copied"
elif [ -f "$directory/$name.gz" ]; then unpack gzip gz "$3"
elif [ -f "$directory/$name.lz4" ]; then unpack lz4 lz4 "$3"
elif [ -f "$directory/$name.zst" ]; then unpack zstd zst "$3"
else exit 1
fi
`;

/**
 * The script that runs the user's own command and says by its status what that says. Its arguments are `%f` and the
 * command, in which PostgreSQL has filled in the rest. A shutdown signals the whole process group (postmaster.c,
 * signal_child): the shell waits for what it runs and ends after it, so that nothing is left to the container's first
 * process, which may be another postmaster. 131 and 143 are how a shell tells of SIGQUIT and SIGTERM. What ignores
 * them gets SIGKILL from the postmaster five seconds later, as long as this shell is there.
 */
export const askUserScript = `#!/bin/sh
name=$1 command=$2
${note}
trap 'exit 131' QUIT
trap 'exit 143' TERM
set --
unset name
eval "$command"
`;

/** A word of a shell command; `%` is doubled because PostgreSQL expands it in `restore_command`. */
export function shellWord(text: string): string {
  return quoted(text).replaceAll('%', '%%');
}

/** `restore_command` for a directory of WAL. PostgreSQL's own shell, which signals would end early, gives way to ours. */
export function fetchCommand(script: string, directory: string): string {
  return `exec ${shellWord(script)} ${shellWord(directory)} %f %p`;
}

/** `restore_command` for the user's own: PostgreSQL fills in its `%f`, `%p`, `%r` and `%%` between the quotes. */
export function askUserCommand(script: string, command: string): string {
  return `exec ${shellWord(script)} %f ${quoted(command)}`;
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
