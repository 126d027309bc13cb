#!/bin/sh
# Runs once, when PostgreSQL's volume is empty (executable: otherwise the image's own script would
# take it for a part of itself): the service gets a role and a database of its own,
# and is no superuser.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$FACELINE_DATABASE_PASSWORD" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE faceline LOGIN PASSWORD :'password';
CREATE DATABASE faceline OWNER faceline;
REVOKE ALL ON DATABASE faceline FROM PUBLIC;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
SQL
