#!/bin/sh
# Runs at each start: the service's buckets, and a user that may use them and nothing else.
set -eu
mc alias set --quiet store http://s3:9000 "$S3_ADMIN_USER" "$S3_ADMIN_PASSWORD"
mc mb --quiet --ignore-existing store/faceline store/imports
mc admin policy create store faceline /bucket-policy.json
mc admin user add store "$FACELINE_MEDIA_ACCESS_KEY" "$FACELINE_MEDIA_SECRET_KEY"
# Attaching a policy again is an error. (The image has neither grep nor sed.)
mc admin policy attach store faceline --user "$FACELINE_MEDIA_ACCESS_KEY" ||
    case $(mc admin policy entities store --policy faceline) in
        *"$FACELINE_MEDIA_ACCESS_KEY"*) ;;
        *) exit 1 ;;
    esac
