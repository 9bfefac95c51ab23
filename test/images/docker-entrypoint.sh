#!/bin/sh
# The entrypoint of the test images: what the official one does between `docker run` and the server, as far as a
# service of a workflow can tell. Written for any POSIX shell, since one image has busybox's.
set -eu

case ${1:-} in -*) set -- postgres "$@" ;; esac
if [ "${1:-}" != postgres ]; then exec "$@"; fi

mkdir -p "$PGDATA"
chmod 0700 "$PGDATA" || :
chmod 3775 /var/run/postgresql || :
if [ "$(id -u)" = 0 ]; then
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres {} +
  export HOME=/var/lib/postgresql
  exec /usr/local/lib/setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

initialise() {
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]; then
    echo 'Error: Database is uninitialized and superuser password is not specified.' >&2
    exit 1
  fi

  # Without --auth, so that everything local is trusted.
  password_file=$(mktemp)
  printf '%s\n' "${POSTGRES_PASSWORD:-}" >"$password_file"
  eval "initdb --username=\"\$user\" --pwfile=\"\$password_file\" ${POSTGRES_INITDB_ARGS:-}"
  rm -f "$password_file"
  # `all` among databases does not mean replication: nothing but local connections may replicate.
  method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption)}
  printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"

  # A server for the socket only, whose end nobody outside sees.
  pg_ctl --wait --options="-c listen_addresses=''" start
  psql="psql --no-psqlrc --username=$user --dbname=postgres --set=ON_ERROR_STOP=1 --quiet --tuples-only --no-align"
  echo "select format('create database %I', :'name') where not exists (select from pg_database where datname = :'name') \\gexec" |
    PGPASSWORD=${POSTGRES_PASSWORD:-} $psql --set=name="$database"
  pg_ctl --wait --mode=fast stop
  printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

if [ -s "$PGDATA/PG_VERSION" ]; then
  printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
else
  initialise
fi
exec "$@"
