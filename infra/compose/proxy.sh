#!/bin/sh
# Serves infra/nginx/faceline.conf with this deployment's name, certificate and shim.
set -eu
sed -e 's|server 127\.0\.0\.1:8600;|server shim:8600;|' \
    -e 's|listen 443 ssl;|listen 8443 ssl;|' \
    -e "s|server_name face\.example;|server_name $SERVER_NAME;|" \
    -e 's|/etc/nginx/face\.example\.pem|/certificate/tls.crt|' \
    -e 's|/etc/nginx/face\.example\.key|/certificate/tls.key|' \
    -e 's|/var/log/nginx/faceline\.access\.log|/dev/stdout|' \
    -e 's|/var/log/nginx/faceline\.error\.log|/dev/stderr|' \
    /faceline.conf >/etc/nginx/conf.d/default.conf
exec nginx -g 'daemon off;'
