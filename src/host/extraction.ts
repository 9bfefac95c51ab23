import {type Command, type CommandError, type ExtractOptions, shell} from './host.js';

/** What tar says when it is stopped at `limitBytes`. */
const overLimit = 'pg-basebackup-action: the archive is larger than it may be';

/** What GNU tar does at its checkpoint, by a shell: it ends its parent, which is that tar. */
const stopTar = `exec=echo '${overLimit}' >&2; kill $PPID`;

/**
 * Blocks of 512 bytes that GNU tar takes and writes at once: what a pipe holds. With its own 20 it took twice the time
 * (tar 1.34 on ext4, Linux 6.18).
 */
const blockingFactor = 128;
const recordBytes = blockingFactor * 512;

/**
 * Unpacks standard input. The codec runs beside tar and not below it: for an archive from standard input, GNU tar
 * would put a process of its own in between. The status of a pipeline is that of its last part in every sh, and a
 * damaged archive must not pass for a short one. Only GNU's tar can count by itself, by whole records. Owners in an
 * archive mean nothing here; `..` and absolute names are refused by tar itself, and with `-k` a second member of the
 * same name. What can be one process is one: a child of a shell that is killed is left to the container's first process.
 */
const script = `directory=$1 codec=$2 limit=$3 over=$4
version=$(tar --version 2>&1) || case $? in 126|127) printf '%s\\n' "$version" >&2; exit 127 ;; esac
case $version in *GNU*) gnu=y ;; *) gnu= ;; esac
records=\${gnu:+-B -b ${blockingFactor}}
[ -n "$codec" ] || exec tar -x -k -o $records -f - -C "$directory"
unpack() { tar -x -k -o $records -f - -C "$directory" "$@"; }
if [ -z "$limit" ]; then
  measured() { unpack; }
elif [ -n "$gnu" ]; then
  measured() { unpack --checkpoint=$(((limit + ${recordBytes} - 1) / ${recordBytes} + 1)) --checkpoint-action="$over"; }
else
  # busybox's head takes every byte by itself, as slowly as its gzip.
  if dd if=/dev/null iflag=fullblock 2>/dev/null; then
    most() { dd bs=65536 count=$((limit / 65536 + 1)) iflag=fullblock 2>/dev/null; }
  else
    most() { head -c "$limit"; }
  fi
  measured() { { most; [ "$(head -c 1 | wc -c)" -eq 0 ] || echo '${overLimit}' >&2; } | unpack; }
fi
failed=$({ { "$codec" -d -c 3>&- || echo "$codec:$?" >&3; } | { measured 3>&- || echo "tar:$?" >&3; }; } 3>&1)
[ -z "$failed" ] || { echo "Failed:" $failed >&2; exit 2; }`;

/** Unpacks the archive that comes by standard input into a directory, by what `sh` and any tar can do. */
export function extraction(directory: string, {codec = '', limitBytes}: ExtractOptions = {}): Command {
  return shell(script, [directory, codec, `${limitBytes ?? ''}`, stopTar]);
}

/** Whether an archive was larger than `limitBytes`. */
export function isOverLimit(error: CommandError): boolean {
  return error.stderr.includes(overLimit);
}

/** Whether a part of it was killed. SIGPIPE (141) is what the other part gets when one fails. */
export function hasKilledPart({stderr}: CommandError): boolean {
  return /^Failed:.*:1(37|43)\b/m.test(stderr);
}

/** Whether there is no tar that could unpack anything. */
export function lacksTar({status}: CommandError): boolean {
  return status === 127;
}
