import type {Container} from './container-program.js';
import {exec} from './exec.js';
import {CommandError, shell} from './host.js';
import {type Owner, ownerVariable} from './owner.js';

/**
 * Ends the programs that a dead run has left in a container, and returns their names. A server is shut down politely
 * (`exec` tells why nothing here may die badly that has the container's first process for a parent); a program that had
 * an input has lost it, and ends by itself; what else goes on is killed if it has no children, and a parent that takes
 * no notice: a shell, or one outside of the container. Throws an Error that names those that do not end.
 */
export async function endOrphansIn(container: Container, {id}: Owner): Promise<readonly string[]> {
  try {
    const command = shell(endAll, [`${ownerVariable}=${id}`]);
    // As PostgreSQL's account: root of a container may not read the environment of others (capability SYS_PTRACE).
    const {stdout} = await exec(container, command, {cleanup: true});
    return [...new Set(stdout.split('\n').filter(Boolean))];
  } catch (error) {
    if (!(error instanceof CommandError) || error.status !== 3) throw error;
    throw new Error(
      `In container ${container.facts.name} these do not end: ${error.stderr.trim().split('\n').join(', ')}`,
    );
  }
}

/**
 * Prints the name of each program that it found. Looks once a second: PostgreSQL's fast shutdown first, its immediate one
 * after a minute, and after 90 seconds status 3, with what is left.
 */
const endAll = `owner=$1 tries=0
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$2/status" 2>/dev/null; }
while :; do
  left=
  for process in /proc/[0-9]*; do
    tr '\\000' '\\n' < "$process/environ" 2>/dev/null | grep -q -x -F "$owner" || continue
    pid=\${process#/proc/}
    name=$(field Name "$pid") parent=$(field PPid "$pid")
    [ -n "$name" ] || continue
    echo "$name"
    left="$left$name ($pid)
"
    [ "$parent" = 0 ] || [ "$(field Name "$parent")" = sh ] || continue
    if [ "$name" = postgres ]; then
      case $tries in 0) kill -INT "$pid" ;; 60) kill -QUIT "$pid" ;; esac
    elif [ "$tries" -ge 5 ] && ! grep -q -s -E "^PPid:[[:space:]]*$pid$" /proc/[0-9]*/status; then
      kill -9 "$pid"
    fi
  done
  [ -n "$left" ] || exit 0
  [ "$tries" -lt 90 ] || { printf '%s' "$left" >&2; exit 3; }
  tries=$((tries + 1))
  sleep 1
done`;
