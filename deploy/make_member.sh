#!/bin/sh
# Make the database user of the listeners on CouchDB: a member, who writes documents but no design documents.
#
#   EDW_SERVER=http://127.0.0.1:5984 EDW_DBNAME=edwexample COUCHDB_USER=… COUCHDB_PASSWORD=… \
#       EDW_USERNAME=… EDW_PASSWORD=… sh deploy/make_member.sh
#
# COUCHDB_USER is a server admin. The database must be there (upload_design.py makes it). Called again, it sets the
# password anew. Needs curl alone; no password is on its command line, which every user of the machine can read.
set -eu

fail() {
    echo "error: $*" >&2
    exit 1
}

for name in EDW_SERVER EDW_DBNAME COUCHDB_USER COUCHDB_PASSWORD EDW_USERNAME EDW_PASSWORD; do
    eval "value=\${$name-}"
    [ -n "$value" ] || fail "$name is not set."
    # It stands in JSON and in curl's configuration, and this script knows the quotes of neither.
    case $value in *[!A-Za-z0-9._~:/@%+=,-]*) fail "$name: only letters, digits and . _ ~ : / @ % + = , - are allowed." ;; esac
done

# request METHOD PATH [JSON]: prints the answer; not the answer's code but curl's is the result
request() {
    {
        printf 'user = "%s:%s"\nrequest = "%s"\nurl = "%s/%s"\n' "$COUCHDB_USER" "$COUCHDB_PASSWORD" "$1" "$EDW_SERVER" "$2"
        if [ $# = 3 ]; then
            printf 'header = "Content-Type: application/json"\ndata = "%s"\n' "$(printf %s "$3" | sed 's/"/\\"/g')"
        fi
    } | curl --silent --show-error --fail-with-body --max-time 30 --config -
}

user=_users/org.couchdb.user:$EDW_USERNAME
if present=$(request GET "$user"); then
    revision=$(printf %s "$present" | sed 's/.*"_rev":"\([^"]*\)".*/\1/')
    user="$user?rev=$revision"
fi 2>/dev/null
request PUT "$user" \
    "{\"name\":\"$EDW_USERNAME\",\"password\":\"$EDW_PASSWORD\",\"roles\":[],\"type\":\"user\"}" >/dev/null ||
    fail "$EDW_SERVER: the user $EDW_USERNAME cannot be made. Is $COUCHDB_USER a server admin, and is its password right?"

closed='{"members":{"roles":["_admin"]},"admins":{"roles":["_admin"]}}' # as CouchDB makes every database
wanted="{\"admins\":{\"names\":[],\"roles\":[\"_admin\"]},\"members\":{\"names\":[\"$EDW_USERNAME\"],\"roles\":[]}}"
present=$(request GET "$EDW_DBNAME/_security") || fail "$EDW_SERVER/$EDW_DBNAME: no such database. Make it with: python upload_design.py"
case $present in
"$wanted") ;;
"$closed") request PUT "$EDW_DBNAME/_security" "$wanted" >/dev/null || fail "$EDW_DBNAME/_security cannot be written." ;;
*) fail "$EDW_DBNAME has members already; add $EDW_USERNAME by hand to: $present" ;;
esac
echo "$EDW_USERNAME is a member of $EDW_DBNAME"
